"""Stored objects as the commands show them: damaged, healed, missing, orphaned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.cli.columns import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactstore.lifecycle.verify import Failure
    from artifactstore.store import Store


@dataclass(frozen=True, slots=True)
class HurtPackage:
    """A package that needs a damaged object, with its name and the ids of its holds."""

    package_id: str
    name: str
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Damage:
    """An object that is not what the log says, and the packages that it hurts."""

    blake3: bytes
    backend_id: str
    reason: str
    packages: tuple[HurtPackage, ...]


class Named:
    """Tells the packages of a damage by name; each is looked up once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, HurtPackage] = {}

    def damage(self, failure: Failure) -> Damage:
        """A failure of the library with what people know of its packages."""
        packages = tuple(map(self._package, failure.packages))
        return Damage(failure.blake3, failure.backend_id, failure.reason, packages)

    def _package(self, package_id: str) -> HurtPackage:
        if package_id not in self._found:
            found = self._store.explain_retention(package_id)
            holds = tuple(hold.hold_id for hold in found.holds)
            self._found[package_id] = HurtPackage(package_id, found.state.name, holds)
        return self._found[package_id]


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """A line of a table: an object, and one of the packages that it hurts.

    Args:
        state: `damaged`, `missing`, `healed`, `unhealed`, `orphan`, `released` or `deleted`.
        detail: what is wrong, where the bytes came from, or the size.
    """

    state: str
    digest: str
    backend_id: str
    detail: str
    package_id: str = ""
    name: str = ""
    holds: tuple[str, ...] = ()


OBJECT_COLUMNS: tuple[Column[ObjectRow], ...] = (
    Column("STATE", lambda row: row.state),
    Column("DIGEST", lambda row: row.digest),
    Column("BACKEND", lambda row: row.backend_id),
    Column("DETAIL", lambda row: row.detail),
    Column("PACKAGE", lambda row: row.package_id),
    Column("NAME", lambda row: row.name),
    Column("HOLDS", lambda row: ",".join(row.holds)),
)


def blake3_text(blake3: bytes) -> str:
    """The text form of the digest that names an object."""
    return f"blake3:{blake3.hex()}"


def damage_rows(state: str, damages: Iterable[Damage]) -> Iterator[ObjectRow]:
    """A row for each package that an object hurts, one if it hurts none any more."""
    for damage in damages:
        digest = blake3_text(damage.blake3)
        for package in damage.packages or (HurtPackage("", "", ()),):
            yield ObjectRow(
                state,
                digest,
                damage.backend_id,
                damage.reason,
                package.package_id,
                package.name,
                package.holds,
            )
