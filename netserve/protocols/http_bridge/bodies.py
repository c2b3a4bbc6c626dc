"""Bodies with placeholders: written out, as JSON, or as a form; encoded as in `encode`. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from netserve.errors import InvalidValue
from netserve.protocols.http_bridge.encode import (
    Values,
    form_value,
    json_string,
    json_text,
    xml_text,
)
from netserve.wire.template import Encoder, Template, as_text

PIECE: Final = 8 * 1024
"""Characters of a value that are encoded in one go."""


@dataclass(frozen=True, slots=True)
class BodyTemplate:
    """The body of the requests; made by `parse_body`, `json_body` or `form_body`.

    Arguments:
        template: the text.
        encoders: one for each placeholder; None where values stay as they are.
        content_type: what is told of it when the file tells nothing else; may be empty.
    """

    template: Template
    encoders: tuple[Encoder, ...] | None
    content_type: str

    def render(self, values: Values) -> bytes:
        """The body for a request.

        Raises:
            Misfit: a value has no place in it.
        """
        return b"".join(self.pieces(values))

    def pieces(self, values: Values) -> Iterator[bytes]:
        """The same in pieces, each of which takes a short time.

        Raises:
            Misfit: as the piece with this value is asked for.
        """
        if self.encoders is None:
            yield self.template.render_bytes(values)
            return
        for index, literal in enumerate(self.template.literals):
            if index:
                name, encode = self.template.names[index - 1], self.encoders[index - 1]
                for piece in _encoded(as_text(values[name]), encode):
                    yield piece.encode("utf-8", "surrogateescape")
            yield literal.encode()


def _encoded(text: str, encode: Encoder) -> Iterator[str]:
    """A value in its place, a piece at a time."""
    if encode is json_string:
        yield '"'
        yield from _encoded(text, json_text)
        yield '"'
        return
    for at in range(0, len(text), PIECE):
        yield encode(text[at : at + PIECE])


def parse_body(text: str, names: Collection[str], content_type: str) -> BodyTemplate:
    """A body written out, encoded by its content type.

    Arguments:
        text: as in the file.
        names: the placeholders there are.
        content_type: its media type, with or without parameters; may be empty.

    Raises:
        ValueError: a placeholder is unknown, or the text is not JSON where it has to be.
    """
    template = Template.parse(text, names)
    media = content_type.partition(";")[0].strip().lower()
    if media == "application/json" or media.endswith("+json"):
        encoders = tuple(
            json_text if inside else json_string for inside in _inside_json_strings(template)
        )
        _check_json(template, encoders)
        return BodyTemplate(template, encoders, content_type)
    encoder = _BY_MEDIA.get(media, xml_text if media.endswith("+xml") else None)
    return BodyTemplate(
        template, (encoder,) * len(template.names) if encoder else None, content_type
    )


_BY_MEDIA: Final[dict[str, Callable[[str], str]]] = {
    "application/x-www-form-urlencoded": form_value,
    "application/xml": xml_text,
    "text/xml": xml_text,
    "text/html": xml_text,
}


def _inside_json_strings(template: Template) -> list[bool]:
    """For each placeholder, whether it stands between the quotes of a JSON string."""
    inside, escaped, places = False, False, []
    for literal in template.literals[:-1]:
        for character in literal:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = inside
            elif character == '"':
                inside = not inside
        if escaped:
            raise InvalidValue("is not JSON: a placeholder stands behind a backslash")
        places.append(inside)
    return places


def _check_json(template: Template, encoders: tuple[Encoder, ...]) -> None:
    try:
        json.loads(template.render(dict.fromkeys(template.names, "x"), encoders))
    except ValueError as error:
        raise InvalidValue("is not JSON: {error}", otherwise="is not JSON", error=error) from None


def json_body(value: Any, names: Collection[str]) -> BodyTemplate:
    """A JSON body from the values of the file; every text in them is a template.

    Arguments:
        value: mappings, lists, texts, numbers, true, false, null.
        names: the placeholders there are.

    Raises:
        ValueError: a placeholder is unknown, or a value has no form in JSON.
    """
    parts = _Parts()
    _add_json(parts, value, names)
    return parts.body(json_text, "application/json")


def form_body(fields: Mapping[str, str], names: Collection[str]) -> BodyTemplate:
    """A form (application/x-www-form-urlencoded) from its fields; every value is a template.

    Arguments:
        fields: names and values.
        names: the placeholders there are.

    Raises:
        ValueError: a placeholder is unknown.
    """
    parts = _Parts()
    for index, (name, text) in enumerate(fields.items()):
        parts.literals[-1] += ("&" if index else "") + form_value(name) + "="
        parts.add(Template.parse(text, names), form_value)
    return parts.body(form_value, "application/x-www-form-urlencoded")


class _Parts:
    """A template in the making."""

    def __init__(self) -> None:
        self.literals = [""]
        self.names: list[str] = []

    def add(self, template: Template, encode: Encoder) -> None:
        first, *rest = (encode(literal) for literal in template.literals)
        self.literals[-1] += first
        self.literals += rest
        self.names += template.names

    def body(self, encode: Encoder, content_type: str) -> BodyTemplate:
        template = Template(tuple(self.literals), tuple(self.names))
        return BodyTemplate(template, (encode,) * len(self.names), content_type)


def _add_json(parts: _Parts, value: Any, names: Collection[str]) -> None:
    if isinstance(value, str):
        parts.literals[-1] += '"'
        parts.add(Template.parse(value, names), json_text)
        parts.literals[-1] += '"'
    elif isinstance(value, Mapping):
        parts.literals[-1] += "{"
        for index, (key, item) in enumerate(value.items()):
            parts.literals[-1] += (", " if index else "") + json_string(str(key)) + ": "
            _add_json(parts, item, names)
        parts.literals[-1] += "}"
    elif isinstance(value, (list, tuple)):
        parts.literals[-1] += "["
        for index, item in enumerate(value):
            parts.literals[-1] += ", " if index else ""
            _add_json(parts, item, names)
        parts.literals[-1] += "]"
    else:
        try:
            parts.literals[-1] += json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise InvalidValue("has no form in JSON: a " + type(value).__name__) from None
