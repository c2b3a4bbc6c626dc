"""From a connection's tap to a file: a bounded queue, redaction, packets, a ring of files."""
