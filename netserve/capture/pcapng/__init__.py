"""The pcapng file format (draft-ietf-opsawg-pcapng): block layouts, and a writer. No I/O."""
