"""Which backend takes what is ingested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ANY = "*"


@dataclass(frozen=True, slots=True)
class Route:
    """Which backend takes the objects of a producer and a retention class; `*` stands for any."""

    producer: str
    retention_class: str
    backend_id: str

    def __str__(self) -> str:
        return f"{self.producer}:{self.retention_class}={self.backend_id}"

    def matches(self, producer: str, retention_class: str) -> bool:
        """Whether the rule holds for a package."""
        return self.producer in {ANY, producer} and self.retention_class in {ANY, retention_class}


def chosen(routes: Iterable[Route], producer: str, retention_class: str) -> str | None:
    """The backend of the first rule that matches; None if none does."""
    for route in routes:
        if route.matches(producer, retention_class):
            return route.backend_id
    return None
