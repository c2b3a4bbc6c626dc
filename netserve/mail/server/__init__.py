"""The SMTP server as a machine without I/O: `machine.SmtpServer`, and what it is made of."""
