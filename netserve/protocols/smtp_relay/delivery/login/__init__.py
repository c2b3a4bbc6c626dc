"""Logins at other servers: passwords, and OAuth2 with its tokens."""
