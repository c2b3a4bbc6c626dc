"""Delivery into Maildirs."""
