"""The helper process with Scapy, ``python -m netserve.packet.helper``; no module imports it.

The helper reads a policy and then requests from descriptor 3 (`netserve.packet.requests`), and
writes the replies there. Scapy builds the packets and matches answers to them. netserve checks the
bytes against the policy, and sends and receives them through its own sockets.

===============  ====================================================================
module           contents
===============  ====================================================================
`__main__`       the start: policy, modules of Scapy, confinement, then the loop
`server`         the loop: requests in, jobs by turns, replies out
`jobs`           the small jobs: craft, layers
`exchange`       the large one: send, and wait for answers
`building`       nodes of the notation to packets of Scapy to bytes
`layers`         the classes of Scapy that expressions may name, and their fields
`kernel`         Scapy's view of routes and neighbours, from the kernel
`answer_filter`  a filter in the kernel that passes possible answers only
`matching`       assigns answers to packets
`sockets`        raw sockets out, packet sockets in
===============  ====================================================================
"""
