"""Captures packets from an interface into a file and for the client, without Scapy.

The sniffer is a process that starts like the helper (`netserve.packet.helper`): the first message
describes the capture and carries the file as an open descriptor. The sniffer opens its socket,
drops every capability, and reads the ring that the kernel fills.

==========  ===================================================================
module      contents
==========  ===================================================================
`run`       the start, the loop, the limits, the counts
`ring`      the ring of blocks that is shared with the kernel (TPACKET_V3)
`libpcap`   filters, compiled by libpcap
`writing`   the file
==========  ===================================================================
"""
