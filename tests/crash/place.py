"""Where a drill happens: a store, trees to push, and a clock that goes on in a file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lifecycle.harness import DAY, MICROSECONDS, SECOND
from store.harness import START, FakeClock, Home

from artifactstore import Store
from artifactstore.database import BUSY_TIMEOUT
from artifactstore.digest import digest_pair, object_key
from artifactstore.objects.local import MARKER

if TYPE_CHECKING:
    import os
    from pathlib import Path
    from typing import Self

    from artifactstore.objects.backend import Backend

_LATER = 60 * MICROSECONDS  # a process that opens the store again does so later than the one before it


@dataclass(frozen=True)
class Place:
    """Where a drill happens: a store with two backends, trees to push, and a clock that goes on in a file.

    Everything lies below one folder, which a drill may copy, mount or throw away.

    Args:
        busy_timeout: seconds that its writers wait for each other.
        ticking: the clock in a place that is `still`.
        notes: the ids that it remembers.
    """

    root: Path
    busy_timeout: float = BUSY_TIMEOUT
    ticking: FakeClock | None = None
    notes: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def home(self) -> Home:
        """The store's own place."""
        return Home(self.root / "home")

    @property
    def tree(self) -> Path:
        """The directory that is pushed."""
        return self.root / "tree"

    @property
    def backup(self) -> Path:
        """Where a backup of its database goes: what lies there is at stake, too."""
        return self.root / "elsewhere" / "backup.db"

    @property
    def second(self) -> Path:
        """The root of the other backend; to sync the name of one makes nothing of the other durable."""
        return self.root / "elsewhere" / "second"

    def open(self, *, create: bool = False, days: float = 0) -> Store:
        """The store, at a moment after all earlier ones.

        Args:
            days: how far to move the clock first, for this opening and all later ones.
        """
        return Store.open(
            self.home.database,
            self.home.objects,
            further=self.backends(),
            default_backend=self.first,
            create=create,
            clock=self.clock(days=days),
            busy_timeout=self.busy_timeout,
        )

    def clock(self, *, days: float = 0) -> FakeClock:
        """A clock that stands after all earlier ones; see `open`."""
        if self.ticking is not None:
            return self.ticking
        said = self.root / "now"
        now = int(said.read_text()) if said.exists() else START
        now += _LATER + round(days * DAY * MICROSECONDS)
        said.write_text(str(now))
        return FakeClock(now)

    def still(self, *, days: float = 0) -> Place:
        """The same place, its clock moved and its notes read: a call then touches nothing but the store."""
        notes = {path.name.removeprefix("id-"): path.read_text() for path in self.root.glob("id-*")}
        return replace(self, ticking=self.clock(days=days), notes=notes)

    def note(self, name: str, value: str) -> None:
        """Remember an id for those who come later."""
        (self.root / f"id-{name}").write_text(value)

    def noted(self, name: str) -> str:
        """What was remembered."""
        return self.notes.get(name) or (self.root / f"id-{name}").read_text()

    def has_noted(self, name: str) -> bool:
        """Whether there is something to remember."""
        return (self.root / f"id-{name}").exists()

    @property
    def uploads(self) -> Path:
        """Where upload sessions are."""
        return self.home.database.with_name(f"{self.home.database.name}.uploads")

    @property
    def first(self) -> str:
        """Id of the backend that takes what is ingested."""
        return "local"

    def backends(self) -> dict[str, str | os.PathLike[str] | Backend]:
        """All that the store has beside its local directory."""
        return {SECOND: self.second}

    def give_second_away(self) -> None:
        """Let another store take over the second backend."""
        other = self.root / "another"
        with Store.open(
            other / "artifactstore.db", other / "storage", further=self.backends(), create=True
        ) as another:
            another.adopt_backend(SECOND)

    # Objects, as somebody sees and changes them who goes past the store

    def stored(self, data: bytes, *, second: bool = False) -> bytes | None:
        """What lies under the digest of these bytes."""
        path = self._object(data, second=second)
        return path.read_bytes() if path.exists() else None

    def put(self, data: bytes, content: bytes) -> None:
        """Let something lie under the digest of these bytes."""
        path = self._object(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.chmod(0o600)
        path.write_bytes(content)

    def set_aside(self) -> list[bytes]:
        """Damaged objects that were kept."""
        return [path.read_bytes() for path in (self.home.objects / "damaged").glob("*")]

    def surplus(self) -> list[str]:
        """What lies beside the objects after everything was cleaned up, and should not."""
        found = []
        for root in (self.home.objects, self.second):
            if root.exists():
                known = {MARKER, "blake3", "tmp", "damaged"}
                found += [str(path) for path in root.iterdir() if path.name not in known]
                found += [str(path) for path in root.glob("tmp/*")]
        return found

    def _object(self, data: bytes, *, second: bool = False) -> Path:
        return (self.second if second else self.home.objects) / object_key(digest_pair(data).blake3)

    # Copies

    def copied(self, root: Path) -> Self:
        """The same place somewhere else."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return replace(self, root=root)

    def remove(self) -> None:
        """Throw it away."""
        shutil.rmtree(self.root)


def flipped(data: bytes) -> bytes:
    """The same bytes but for one bit in the middle."""
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)
