"""What tables and records are made of: a column says how an item is shown, a fact is a named value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Column(Generic[ItemT]):
    """A column of a table.

    Args:
        title: its heading on a terminal; pipes get none.
        exact: the text of an item in a pipe.
        shown: the text of an item on a terminal; None for the exact one.
        right: aligned on the right side.
        pipe_only: left out on a terminal, where lines are short.
    """

    title: str
    exact: Callable[[ItemT], str]
    shown: Callable[[ItemT], str] | None = None
    right: bool = False
    pipe_only: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """A named value of a record, with a text for people if it is another one."""

    name: str
    exact: str
    shown: str | None = None
