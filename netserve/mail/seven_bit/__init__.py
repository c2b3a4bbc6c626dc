"""8-bit mail for a server that does not take it (RFC 6152, 3): a scan, a plan, a conversion."""
