"""The ``netserve`` command: one module a verb or group of verbs.

A verb's module is imported when it is used, so that ``netserve --version`` does not wait for
Twisted. It must not import ``netserve.app`` at module level either, which installs the reactor.
"""

from __future__ import annotations

import importlib

import click

from netserve import __version__

VERBS = {
    "run": ("netserve.cli.run:run", "Serve what a file describes, in the foreground."),
    "check": ("netserve.cli.check:check", "Tell everything that is wrong with a file."),
    "schema": ("netserve.cli.schema:schema", "Print the JSON Schema of the file, for editors."),
    "list": ("netserve.cli.listing:listing", "Show the protocols, or the options of one."),
    "dkim": ("netserve.cli.dkim:dkim", "Make a key for signing mail, and print its DNS record."),
    "passwd": ("netserve.cli.passwd:passwd", "Add a user to a file of users, or change one."),
    "send": ("netserve.cli.send:send", "Send a test message, and follow it to its end."),
    "decode": ("netserve.cli.decode:decode", "Show the conversations in a capture file."),
    "packet": ("netserve.cli.packet:packet", "Craft packets, send them, look at the answers."),
    "ping": ("netserve.cli.ping:ping", "Send echo requests to a host, and time the replies."),
    "traceroute": ("netserve.cli.traceroute:traceroute", "Show the routers on the way to a host."),
    "scan": ("netserve.cli.scan:scan", "Show which ports of a host are open."),
    "sniff": ("netserve.cli.sniff:sniff", "Listen to an interface, onto the screen or to a file."),
    "list-layers": ("netserve.cli.layers:list_layers", "Show the layers that packets may have."),
    "queue": ("netserve.cli.queue:queue", "Look at the durable queue, and act on it."),
}
"""Every verb: where it is, and what it is for."""


class LazyGroup(click.Group):
    """Imports a verb when it is used; the help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of `VERBS`."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs in the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netserve")
def main() -> None:
    """One daemon, many protocols, one YAML file."""
