"""Delivery to an application over HTTP."""
