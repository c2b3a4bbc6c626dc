"""Scapy's own evaluation, in a process of its own: a line of JSON in, a line of JSON out.

In: an expression. Out: the bytes of its packets in hex digits, or null where Scapy raises.
"""

import itertools
import json
import sys

import scapy.all

scapy.all.conf.verb = 0
NAMES = dict(vars(scapy.all))
MOST = 1000

for line in sys.stdin:
    try:
        packets = eval(json.loads(line), dict(NAMES))
        found = [bytes(packet).hex() for packet in itertools.islice(packets, MOST)]
    except Exception:
        found = None
    print(json.dumps(found), flush=True)
