"""``module:object`` -> the object, or one line about why not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from netserve.errors import PluginError


def import_object(path: str, folder: Path | None = None) -> Any:
    """Import ``module:object``.

    Arguments:
        path: its parts may have dots.
        folder: of the config file; modules in it can be imported from then on. What is installed
            goes first, so that a file such as ``queue.py`` does not take the standard one's place.

    Raises:
        PluginError: it is not of that form, or cannot be imported; the cause is the exception.
    """
    module_name, _, names = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *names.split("."))):
        raise PluginError(f"{path} is not the way to a Python object; write module:object")
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise PluginError(f"cannot import {module_name}: {_reason(error)}") from error
    for name in names.split("."):
        if not hasattr(found, name):
            where = getattr(found, "__file__", None) or module_name
            raise PluginError(f"there is no {name} in {where}")
        found = getattr(found, name)
    return found


def _reason(error: BaseException) -> str:
    """The plugin's own error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
