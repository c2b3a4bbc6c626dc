"""netserve: one daemon, many protocols, one file, one reactor."""

__version__ = "0.1.0"
