"""Prices by article number, for config.yaml."""

from decimal import Decimal

from netserve.protocols.request_response import Request

PRICES = {"4711": Decimal("2.50"), "4712": Decimal("19.90")}


def price(request: Request) -> str | None:
    """The price of an article, or None for the reply of the file."""
    found = PRICES.get(request.text.strip())
    return None if found is None else f"{found} EUR"
