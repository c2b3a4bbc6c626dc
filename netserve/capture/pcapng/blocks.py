"""Numbers of the pcapng format, and its options.

Source: draft-ietf-opsawg-pcapng, "PCAP Now Generic (pcapng) Capture File Format".
"""

from __future__ import annotations

from typing import Final

SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE_DESCRIPTION: Final = 1
OBSOLETE_PACKET: Final = 2
SIMPLE_PACKET: Final = 3
NAME_RESOLUTION: Final = 4
INTERFACE_STATISTICS: Final = 5
ENHANCED_PACKET: Final = 6
DECRYPTION_SECRETS: Final = 10

BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
TLS_KEY_LOG: Final = 0x544C534B
"""The type of secrets in the form of ``SSLKEYLOGFILE`` (RFC 9850)."""

OPT_END: Final = 0
OPT_COMMENT: Final = 1
SHB_HARDWARE: Final = 2
SHB_OS: Final = 3
SHB_USERAPPL: Final = 4
IF_NAME: Final = 2
IF_DESCRIPTION: Final = 3
IF_TSRESOL: Final = 9
IF_OS: Final = 12
IF_TSOFFSET: Final = 14
EPB_FLAGS: Final = 2
EPB_DROPCOUNT: Final = 4
ISB_STARTTIME: Final = 2
ISB_ENDTIME: Final = 3
ISB_IFRECV: Final = 4
ISB_IFDROP: Final = 5
ISB_FILTERACCEPT: Final = 6
ISB_OSDROP: Final = 7
ISB_USRDELIV: Final = 8

FLAG_INBOUND: Final = 1
FLAG_OUTBOUND: Final = 2

NRB_END: Final = 0
NRB_IPV4: Final = 1
NRB_IPV6: Final = 2

LINKTYPE_RAW: Final = 101
"""Packets that begin with an IPv4 or IPv6 header."""
