"""A mixed load with kills: ``python -m tests.soak`` (`make soak`), and a verdict at its end.

One process of netserve hosts echo over TCP and UDP, request/response, the bridge framed and over
HTTP, and the mail relay with its ways in over SMTP and HTTP. Clients use all of them at the same
time and check each answer. Meanwhile the smarthost flaps, and netserve is killed (SIGKILL) and
started again at random moments.

`product.py` is netserve's process, `smarthost.py` the next hop, `clients.py` the load, `record.py`
what must hold at the end.
"""
