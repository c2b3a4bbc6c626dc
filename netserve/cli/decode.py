"""``netserve decode``: the conversations in a capture file, by protocol."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.argument("file", type=click.Path(allow_dash=True, path_type=str))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@click.option(
    "--live", is_flag=True, help="Print each item at once instead of whole conversations."
)
@click.option("--items", type=click.IntRange(0), default=100, show_default=True,
              help="Items per conversation at most; 0 prints only its title line.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Print all items.")
@click.option("--protocol", "protocols", multiple=True, metavar="NAME",
              help="Print only smtp, http, dns, mllp, tls, lines or hex.")  # fmt: skip
@click.option("--address", "addresses", multiple=True, metavar="IP",
              help="Print only conversations of this address.")  # fmt: skip
@click.option("--port", "ports", multiple=True, type=click.IntRange(0, 65535), metavar="PORT",
              help="Print only conversations of this port.")  # fmt: skip
@click.option("--conversation", "numbers", multiple=True, type=click.IntRange(1),
              metavar="NUMBER", help="Print only this conversation.")  # fmt: skip
@click.option("--as", "readings", multiple=True, metavar="PORT=NAME",
              help="Use this protocol for servers on PORT.")  # fmt: skip
def decode(file: str, *, readings: tuple[str, ...], everything: bool, **options: Any) -> None:
    """Show the conversations in FILE, a pcap or pcapng capture of any tool; - is standard input.

    The file may be compressed with gzip or zstd. SMTP logins are printed as ***; the content of
    unknown protocols is printed unmasked.
    """
    from netserve.cli.decoding import run  # noqa: PLC0415 - the help needs none of it

    run(file, readings=readings, everything=everything, **options)
