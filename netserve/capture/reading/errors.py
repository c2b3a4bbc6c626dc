"""The error of capture files that cannot be read."""

from __future__ import annotations

from netserve.errors import NetserveError


class CaptureFileError(NetserveError):
    """A file is no capture, or is damaged; the text says where and how, without the file's name."""
