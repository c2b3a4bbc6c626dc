"""The SMTP client as a machine without I/O: `machine.Client`, and what it is made of."""
