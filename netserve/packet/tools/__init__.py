"""What is done with packets: ping, traceroute, a scan of ports. Pure.

Each module makes the packets that are to be sent, and makes sense of what came back.
"""
