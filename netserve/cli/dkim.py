"""``netserve dkim``: a key for signing mail, and the DNS record that publishes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from netserve.cli.files import open_new
from netserve.mail.dkim.keys import (
    LEAST_BITS,
    MOST_BITS,
    RECOMMENDED_BITS,
    KeyKind,
    load_key,
    make_key,
    zone_line,
)
from netserve.mail.dkim.names import check_domain, check_selector


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--domain", required=True, help="The domain that signs.")
@click.option("--selector", required=True, help="Any name, another one for each key.")
@click.option("--type", "kind", type=click.Choice(["rsa", "ed25519"]), default="rsa",
              show_default=True, help="Of a new key.")  # fmt: skip
@click.option("--bits", type=click.IntRange(LEAST_BITS, MOST_BITS), default=RECOMMENDED_BITS,
              show_default=True, help="Of a new RSA key.")  # fmt: skip
def dkim(file: Path, *, domain: str, selector: str, kind: KeyKind, bits: int) -> None:
    """Print the DNS record for the key in FILE, which is made where it is not there."""
    name = _checked("domain", check_domain, domain)
    place = _checked("selector", check_selector, selector)
    try:
        if not file.exists():
            with open_new(file) as output:
                output.write(make_key(kind, bits).encode("ascii"))
            click.echo(f"made a key in {file}", err=True)
        key = load_key(file.read_text())
    except OSError as error:
        raise click.ClickException(f"{file}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise click.ClickException(f"{file}: {error}") from None
    click.echo(zone_line(name, place, key.record))


def _checked(option: str, check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--{option}") from None
