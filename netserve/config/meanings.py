"""What the options of a settings model mean: the docstrings behind its fields.

They are read from the source, when somebody asks for the reference or the schema. pydantic could
do it as each model is made, but that takes as long as all the rest of a start's checking.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


@cache
def meanings_of(model: type[BaseModel]) -> Mapping[str, str]:
    """The docstring of each field, by its name, those of the base classes included.

    Arguments:
        model: its own description of a field (`Field(description=…)`) counts before a docstring.
    """
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            found.update(_docstrings(cls))
    for name, field in model.model_fields.items():
        if field.description:
            found[name] = field.description
    return found


def _docstrings(cls: type) -> Iterator[tuple[str, str]]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
        (tree,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):  # it was made where there is no source
        return
    if isinstance(tree, ast.ClassDef):
        for statement, behind in pairwise(tree.body):
            match statement, behind:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    yield name, inspect.cleandoc(text)
