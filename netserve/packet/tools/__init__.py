"""Tools on top of packets: ping, traceroute, a scan of ports. Pure.

Each module makes the requests for the helper, and evaluates the answers.
"""
