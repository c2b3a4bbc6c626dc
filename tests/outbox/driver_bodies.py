"""The bodies that driver.py takes."""

SMALL = b"Subject: small\r\n\r\nHello\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 6000
