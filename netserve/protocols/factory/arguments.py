"""Arguments as they are written in the file -> Python values.

===========================================  ==============================================
in the file                                  value
===========================================  ==============================================
a text, number, ``true``, ``null``           itself
a list                                       a list of such values
``{path: ./files}``                          the text of the absolute path; a relative one
                                             starts at the folder of the config file
``{import: module:object}``                  the object itself
``{object: module:object, arguments: …}``    what the object gives when it is called
any other mapping                            a dict of such values
===========================================  ==============================================

The arguments of an object are a list (by place) or a mapping (by name).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from netserve.config.import_path import import_object
from netserve.config.types import expand_home
from netserve.errors import InvalidValue, PluginError, place_of, with_place

_FORMS: Final = ({"object"}, {"object", "arguments"}, {"path"}, {"import"})


def check(arguments: object) -> object:
    """The arguments, if they can be values.

    Raises:
        ValueError: what is wrong; nothing is imported to find out.
    """
    if not isinstance(arguments, (tuple, list, Mapping)):
        raise InvalidValue("not arguments; write a list, or a mapping of names")
    values = arguments.values() if isinstance(arguments, Mapping) else arguments
    for value in values:
        _check_value(value)
    return arguments


def _check_value(value: object) -> None:
    if isinstance(value, (tuple, list)):
        check(value)
    elif isinstance(value, Mapping):
        for key in ("object", "path", "import"):
            if set(value) in _FORMS and key in value and not isinstance(value[key], str):
                raise InvalidValue(key + ": not a text")
        if "object" in value and set(value) not in _FORMS:
            raise InvalidValue("an argument with object has nothing else but arguments")
        check(value.get("arguments", ()) if "object" in value else value)


class Builder:
    """Makes values of arguments.

    Arguments:
        folder: of the config file: relative paths start there, and modules in it can be imported.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, path: str, *, at: tuple[str, ...] = ("arguments",)) -> Any:
        """The object of an import path.

        Arguments:
            path: `module:object`.
            at: the option that the path stands in.

        Raises:
            ValueError: it cannot be imported, with the reason.
        """
        try:
            return import_object(path, self._folder)
        except PluginError as error:
            otherwise = "an object of the arguments cannot be imported"
            raise InvalidValue("{error}", at=at, otherwise=otherwise, error=error) from error

    def bind(self, found: Any, path: str, arguments: object) -> Callable[[], Any]:
        """A call of an object with its arguments, which are made now, once.

        Arguments:
            found: what is called.
            path: its import path, for messages.
            arguments: as they stand in the file.

        Raises:
            ValueError: it cannot be called, or not with these arguments. The returned function
                raises it where the call itself fails.
        """
        if not callable(found):
            raise InvalidValue("{path} is " + _kind(found) + ", and takes no arguments", path=path)
        positional: list[Any] = []
        named: dict[str, Any] = {}
        if isinstance(arguments, Mapping):
            named = {str(key): self.value(value) for key, value in arguments.items()}
        elif isinstance(arguments, (tuple, list)):
            positional = [self.value(value) for value in arguments]
        _check_signature(found, path, positional, named)

        def call() -> Any:
            try:
                return found(*positional, **named)
            except Exception as error:
                # Its own text may have an argument in it, which may be a secret.
                told = place_of(error) if positional or named else with_place(error)
                otherwise = "it failed: " + place_of(error)
                raise InvalidValue(
                    "{path} failed: {told}", otherwise=otherwise, path=path, told=told
                ) from error

        return call

    def value(self, argument: object) -> Any:
        """The Python value of one argument.

        Raises:
            ValueError: an object in it cannot be imported or called.
        """
        if isinstance(argument, (tuple, list)):
            return [self.value(item) for item in argument]
        if not isinstance(argument, Mapping):
            return argument
        if set(argument) not in _FORMS:
            return {key: self.value(item) for key, item in argument.items()}
        if "path" in argument:
            return str(self._folder / expand_home(argument["path"]))
        if "import" in argument:
            return self.find(argument["import"])
        path = argument["object"]
        return self.bind(self.find(path), path, argument.get("arguments", ()))()


def _check_signature(
    found: Callable[..., Any], path: str, positional: list[Any], named: dict[str, Any]
) -> None:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return  # written in C; the call will tell
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        raise InvalidValue(
            "{path} does not take these arguments: {error}",
            otherwise="the object does not take these arguments",
            path=path,
            error=error,
        ) from None


def _kind(found: object) -> str:
    return f"of the type {type(found).__name__}"
