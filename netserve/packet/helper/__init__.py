"""The process with Scapy in it, ``python -m netserve.packet.helper``; nobody imports it.

It reads a policy and then requests from its descriptor 3, see `netserve.packet.requests`, and
writes what came of them. Scapy makes the bytes of packets and tells which answer belongs to which
of them; the bytes are looked at by the policy, and go out and come in, by sockets of our own.

===============  ====================================================================
module           what is in it
===============  ====================================================================
`__main__`       the start: policy, modules of Scapy, confinement, then the loop
`server`         the loop: requests in, jobs by turns, replies out
`jobs`           the small jobs: craft, layers
`exchange`       the large one: send, and wait for answers
`building`       nodes of the notation to packets of Scapy to bytes
`layers`         which classes of Scapy may be named, and what fields they have
`kernel`         Scapy's view of routes and neighbours, from the kernel
`answer_filter`  what the kernel lets through of what comes in
`matching`       which answer belongs to which packet
`sockets`        raw sockets out, packet sockets in
===============  ====================================================================
"""
