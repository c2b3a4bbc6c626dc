"""Sans-IO helpers: framings, bounded buffers, templates. No Twisted, no asyncio."""
