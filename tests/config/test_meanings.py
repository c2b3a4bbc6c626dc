"""The meanings of options come from the docstrings behind them."""

from pydantic import Field

from netserve.config.meanings import meanings_of
from netserve.config.types import Section


class Base(Section):
    first: int = 1
    """Of the base."""
    second: int = 2
    """Told again below."""


class Below(Base):
    second: int = 3
    """The newer words,
    on two lines.
    """
    third: int = Field(default=4, description="By the field.")
    """Not this one."""
    fourth: int = 5


def test_a_field_has_the_docstring_behind_it() -> None:
    assert meanings_of(Below) == {
        "first": "Of the base.",
        "second": "The newer words,\non two lines.",
        "third": "By the field.",
    }


def test_a_model_without_source_has_no_meanings() -> None:
    made = type("Made", (Section,), {"__annotations__": {"x": int}, "x": 1})
    assert meanings_of(made) == {}
