"""``netserve packet setup``: reports missing requirements for packets, and installs them."""

from __future__ import annotations

import grp
import sys
from pathlib import Path

import click

from netserve.cli.packets import EXIT_CODES, load_settings


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The file whose section `packet` becomes the policy. [default: config.yaml]",
)
@click.option(
    "--systemd",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write systemd's units for the packet helper into this folder.",
)
@click.option(
    "--policy-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --systemd: the policy's file. [default: /etc/netserve/packet.json]",
)
@click.option("--copy", is_flag=True, help="Copy the interpreter, and give the copy CAP_NET_RAW.")
@click.option("--group", help="The group that may use it.")
def setup(
    config: Path | None,
    systemd: Path | None,
    policy_file: Path | None,
    *,
    copy: bool,
    group: str | None,
) -> None:
    """Report whether this machine can send packets, and explain how to set it up.

    The exit code is 0 if it can, 69 if a requirement is missing.
    """
    from netserve.packet import setup as steps  # noqa: PLC0415 - Twisted, only when it is used

    settings = load_settings(config)
    if systemd is None and not copy:
        found = steps.find(settings.socket)
        click.echo("\n".join(found.lines()))
        if not found.is_enough:
            click.echo()
            click.echo(steps.EXPLANATION.format(netserve=sys.argv[0]), nl=False)
            sys.exit(EXIT_CODES["missing"])
        return
    if group is None:
        raise click.UsageError("--systemd and --copy need --group: the group that may use it")
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        raise click.ClickException(f"there is no group {group}; make it by groupadd") from None
    try:
        if copy:
            path = steps.make_copy(number)
            click.echo(f"{path}: the members of {group} can send any packet with it")
        if systemd is not None:
            files = steps.write_units(
                systemd,
                policy_file or steps.POLICY_FILE,
                socket=settings.socket,
                group=group,
                policy=settings.policy(),
            )
            click.echo("\n".join(map(str, files)))
            click.echo(
                "next: systemctl daemon-reload && systemctl enable --now netserve-packet.socket"
            )
    except steps.SetupError as error:
        raise click.ClickException(str(error)) from None
