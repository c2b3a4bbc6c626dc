"""Replies as the file gives them: constant bytes, or texts with placeholders.

=============  =========================================================
placeholder    is
=============  =========================================================
``{request}``  the request, without its framing
``{rest}``     in a rule with ``prefix``, what follows the prefix
``{name}``     in a rule with ``regex``, the group ``(?P<name>…)``
``{peer}``     the peer's address
``{service}``  the service's name
=============  =========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from netserve.errors import InvalidValue
from netserve.wire.pattern import Encoding
from netserve.wire.template import Template

__all__ = ["Reply", "names_for_rule", "names_of_failures", "names_of_requests", "parse_reply"]


def names_of_failures() -> frozenset[str]:
    """The placeholders of replies to what is no request."""
    return frozenset({"peer", "service"})


def names_of_requests() -> frozenset[str]:
    """The placeholders of replies to any request."""
    return names_of_failures() | {"request"}


def names_for_rule(groups: Collection[str]) -> frozenset[str]:
    """The placeholders of a rule's reply.

    Arguments:
        groups: what its match names.

    Raises:
        ValueError: a group has a name that means something else already.
    """
    if taken := names_of_requests() & frozenset(groups):
        name = min(taken)
        raise InvalidValue(
            "a group cannot be named {name}: {placeholder} is taken",
            name=name,
            placeholder=f"{{{name}}}",
        )
    return names_of_requests() | frozenset(groups)


def parse_reply(value: str | bytes, names: Collection[str]) -> Template | bytes:
    """A reply of the file.

    Arguments:
        value: a text is a template, bytes are constant.
        names: the placeholders there are.

    Raises:
        ValueError: see `Template.parse`.
    """
    return value if isinstance(value, bytes) else Template.parse(value, names)


class Reply:
    """A reply that is ready to be sent, framing and all.

    Arguments:
        value: as in the file, or None for no reply.
        names: the placeholders there are.
        encode: the framing's.
        encoding: of the texts.

    Raises:
        ValueError: a placeholder is unknown, or a constant reply does not fit the framing or the
            encoding.
    """

    __slots__ = ("_encode", "_encoding", "_template", "constant", "is_constant")

    constant: bytes | None
    """What is sent, where that is always the same; None too where nothing is sent."""
    is_constant: bool
    """Whether `constant` is all there is to it."""

    def __init__(
        self,
        value: str | bytes | None,
        names: Collection[str],
        *,
        encode: Callable[[bytes], bytes],
        encoding: Encoding,
    ) -> None:
        self._encode = encode
        self._encoding = encoding
        self._template: Template | None = None
        self.constant = None
        self.is_constant = True
        if value is None:
            return
        parsed = parse_reply(value, names)
        if isinstance(parsed, bytes):
            self.constant = encode(parsed)
        elif parsed.constant is not None:
            self.constant = encode(parsed.constant.encode(encoding))
        else:
            parsed.render_bytes(dict.fromkeys(parsed.names, b""), encoding)
            self._template = parsed
            self.is_constant = False

    def render(self, values: Mapping[str, bytes | str]) -> bytes | None:
        """What is sent.

        Raises:
            ValueError: it does not fit the framing or the encoding.
        """
        if self._template is None:
            return self.constant
        return self._encode(self._template.render_bytes(values, self._encoding))
