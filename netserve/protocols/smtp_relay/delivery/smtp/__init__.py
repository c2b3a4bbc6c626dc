"""Delivery by SMTP: pools of connections, the servers, what is done to a message on its way out."""
