"""Scapy's layer notation, ``IP(dst="127.0.0.1")/TCP(dport=[80, 443])/"data"``, as plain data.

`parse` turns text into `nodes`, `encode` and `decode` turn nodes into JSON and back, `render`
turns nodes into text. Nothing is evaluated: the parser knows literals, names before a parenthesis,
and ``/``; the code that builds the packet decides which names exist. The grammar is in
``docs/packet.md``.
"""

from netserve.packet.notation.coding import decode, encode
from netserve.packet.notation.nodes import Call, Data, Layer, NotationError, Packet, Value, render
from netserve.packet.notation.parser import parse

__all__ = [
    "Call",
    "Data",
    "Layer",
    "NotationError",
    "Packet",
    "Value",
    "decode",
    "encode",
    "parse",
    "render",
]
