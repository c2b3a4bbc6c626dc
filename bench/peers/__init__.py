"""What netserve is measured beside: each a program of its own, run in its own process."""
