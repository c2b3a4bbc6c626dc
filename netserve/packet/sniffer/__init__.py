"""Listening to an interface: packets into a file and to the one who asked, without Scapy.

It is a process like the helper, and starts in the same way (`netserve.packet.helper`): its first
message says what to listen to, and brings the file as an open descriptor. It opens its socket,
drops every capability, and reads the ring that the kernel fills.

==========  ===================================================================
module      what is in it
==========  ===================================================================
`run`       the start, the loop, the limits, the counts
`ring`      the ring of blocks that is shared with the kernel (TPACKET_V3)
`libpcap`   filters, compiled by libpcap
`writing`   the file
==========  ===================================================================
"""
