"""Hosting: listeners, TLS, limits, access rules, drain."""
