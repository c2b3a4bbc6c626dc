"""Capture files of any tool: pcap and pcapng, plain or compressed, from a file or a pipe."""
