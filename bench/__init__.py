"""Measurements of netserve beside its peers: ``python -m bench``, see README.md here."""
