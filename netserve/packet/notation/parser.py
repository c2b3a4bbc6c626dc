"""Text -> `Packet`: recursive descent, with Python's precedence of ``/`` and ``*``."""

from __future__ import annotations

from netserve.packet.notation.nodes import (
    CALLS,
    DATA_LAYERS,
    MAX_DEPTH,
    Budget,
    Call,
    Layer,
    NotationError,
    Packet,
    Value,
    data_size,
)
from netserve.packet.notation.tokens import Token, tokens

_CONSTANTS: dict[str, Value] = {"True": True, "False": False, "None": None}


def parse(text: str) -> Packet:
    """Read an expression.

    Arguments:
        text: such as ``IP(dst="127.0.0.1")/TCP(dport=(80, 89), flags="S")/"data"``.

    Raises:
        NotationError: it is not one; the error has the position.
    """
    parser = _Parser(list(tokens(text)))
    value = parser.expression()
    parser.expect_end()
    if isinstance(value, (str, bytes)):
        raise NotationError("data alone is no packet; write Raw(...) or a layer before it", 0)
    if not isinstance(value, Packet):
        raise NotationError('not a packet; write layers, such as IP(dst="127.0.0.1")/ICMP()', 0)
    return value


class _Parser:
    def __init__(self, words: list[Token]) -> None:
        self._words = words
        self._at = 0
        self._depth = 0
        self._budget = Budget()

    # Words

    @property
    def _next(self) -> Token:
        return self._words[self._at]

    def _take(self) -> Token:
        word = self._next
        if word.kind != "end":
            self._at += 1
        return word

    def _takes(self, mark: str) -> bool:
        """Take a mark if it is the next word."""
        if self._next.kind == "mark" and self._next.text == mark:
            self._at += 1
            return True
        return False

    def _expect(self, mark: str, where: str) -> None:
        if not self._takes(mark):
            raise self._unexpected(f"{mark} {where}")

    def _unexpected(self, expected: str) -> NotationError:
        found = self._next.text[:40] or "the end"
        return NotationError(f"expected {expected}, found {found}", self._next.position)

    def expect_end(self) -> None:
        """Raise NotationError if there is another word."""
        if self._next.kind != "end":
            raise self._unexpected("/ or the end")

    # Expressions

    def expression(self) -> Value:
        """Terms with ``/`` and ``*`` between them, from left to right."""
        value = self._term()
        while self._next.kind == "mark" and self._next.text in "/*":
            mark = self._take()
            right = self._term()
            if mark.text == "/":
                value = _over(value, right, mark)
            else:
                value = self._times(value, right, mark)
        return value

    def _times(self, left: Value, right: Value, mark: Token) -> Value:
        """``"data" * 100``; nothing else can be multiplied."""
        if isinstance(left, Packet):
            raise NotationError(
                "a packet is not multiplied; give the number of packets as the count of the"
                ' request, and write repeated data in parentheses: IP()/("x" * 8)',
                mark.position,
            )
        if not isinstance(left, (str, bytes)) or type(right) is not int or right < 0:
            raise NotationError('only data is multiplied, by a number: "x" * 8', mark.position)
        self._budget.data(data_size(left) * right, mark.position)
        return left * right

    def _term(self) -> Value:
        self._budget.value(self._next.position)
        word = self._take()
        if word.kind == "value":
            return word.value
        if word.kind == "name":
            return self._named(word)
        if word.text == "-":
            return self._negative()
        if word.text not in {"(", "["}:
            self._at -= word.kind != "end"
            raise self._unexpected("a layer or a value")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotationError(f"more than {MAX_DEPTH} levels of brackets", word.position)
        value = self._list() if word.text == "[" else self._parenthesis()
        self._depth -= 1
        return value

    def _negative(self) -> Value:
        word = self._take()
        if isinstance(word.value, (int, float)) and word.kind == "value":
            return -word.value
        raise NotationError("expected a number after -", word.position)

    def _list(self) -> list[Value]:
        items: list[Value] = []
        while not self._takes("]"):
            if items:
                self._expect(",", "or ] after a list item")
                if self._takes("]"):
                    break
            items.append(self.expression())
        return items

    def _parenthesis(self) -> Value:
        """A tuple, or one value in parentheses."""
        items: list[Value] = []
        has_comma = False
        while not self._takes(")"):
            if items:
                self._expect(",", "or ) after a value")
                has_comma = True
                if self._takes(")"):
                    break
            items.append(self.expression())
        return items[0] if len(items) == 1 and not has_comma else tuple(items)

    def _named(self, name: Token) -> Value:
        if name.text in _CONSTANTS:
            return _CONSTANTS[name.text]
        if self._next.text != "(" or self._next.kind != "mark":
            raise NotationError(
                f"{name.text} is not a value; a layer is written {name.text}(), a text in quotes",
                name.position,
            )
        self._at += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotationError(f"more than {MAX_DEPTH} levels of brackets", name.position)
        unnamed, fields = self._arguments(name)
        self._depth -= 1
        if name.text in CALLS:
            return self._call(name, unnamed, fields)
        return Packet((_layer(name, unnamed, fields),))

    def _call(self, name: Token, unnamed: list[Value], fields: dict[str, Value]) -> Call:
        arguments = tuple(value for value in unnamed if isinstance(value, (str, int)))
        if fields or len(arguments) < len(unnamed):
            raise NotationError(f"{name.text} takes texts and integers only", name.position)
        call = Call(name.text, arguments)
        self._budget.call(call, name.position)
        return call

    def _arguments(self, name: Token) -> tuple[list[Value], dict[str, Value]]:
        unnamed: list[Value] = []
        fields: dict[str, Value] = {}
        is_first = True
        while not self._takes(")"):
            if not is_first:
                self._expect(",", f"or ) after an argument of {name.text}")
                if self._takes(")"):
                    break
            is_first = False
            field = self._field_name()
            if field is None:
                if fields:
                    raise self._unexpected("a field with its name")
                unnamed.append(self.expression())
            elif field.text in fields:
                raise NotationError(f"{name.text} has {field.text} twice", field.position)
            else:
                fields[field.text] = self.expression()
        return unnamed, fields

    def _field_name(self) -> Token | None:
        """``name=``, if it comes next."""
        word = self._next
        if word.kind != "name":
            return None
        after = self._words[self._at + 1]
        if after.kind != "mark" or after.text != "=":
            return None
        self._at += 2
        return word


def _over(left: Value, right: Value, mark: Token) -> Packet:
    """``left / right``; as in Python, one of the two has to be a packet."""
    packets = isinstance(left, Packet) + isinstance(right, Packet)
    stackable = all(isinstance(side, (Packet, str, bytes)) for side in (left, right))
    if not packets or not stackable:
        what = "/ puts layers and data onto a layer; numbers are not divided"
        raise NotationError(what, mark.position)
    layers: list[Layer | str | bytes] = []
    for side in (left, right):
        if isinstance(side, Packet):
            layers.extend(side.layers)
        elif isinstance(side, (str, bytes)):
            layers.append(side)
    return Packet(tuple(layers))


def _layer(name: Token, unnamed: list[Value], fields: dict[str, Value]) -> Layer:
    if not unnamed:
        return Layer(name.text, tuple(fields.items()))
    data = unnamed[0]
    if name.text not in DATA_LAYERS or len(unnamed) > 1 or not isinstance(data, (str, bytes)):
        raise NotationError(
            f"{name.text} takes its fields by name, as in {name.text}(field=value)", name.position
        )
    return Layer(name.text, tuple(fields.items()), data)
