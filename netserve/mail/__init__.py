"""Pure mail: envelope, SMTP server and client machines, bounces, routes. No Twisted, no asyncio."""
