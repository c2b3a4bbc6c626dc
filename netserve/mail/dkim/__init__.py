"""DKIM signatures (RFC 6376, RFC 8301, RFC 8463): keys, canonical forms, signing. No I/O."""
