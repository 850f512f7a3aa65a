"""What the tests of the lifecycle share: a store with two backends, a clock, damage, a check at the end."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from store.harness import SAID, CountedIds, FakeClock, Home, write_tree

from artifactstore import Store
from artifactstore.digest import object_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from artifactstore.lifecycle.policy import RetentionPolicy

DAY = 86_400  # seconds
MICROSECONDS = 1_000_000
SECOND = "second"  # the other backend


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def truncate(path: Path) -> None:
    """Cut the last byte off."""
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])


def delete(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def swap(one: Path, other: Path) -> None:
    """Each file gets the other's bytes."""
    first, second = one.read_bytes(), other.read_bytes()
    for path, data in ((one, second), (other, first)):
        path.chmod(0o600)
        path.write_bytes(data)


@dataclass
class Life:
    """A store whose time the test moves, and what the test has planted in it.

    Args:
        planted: parts of the findings that the check at the end must have, and no others.
    """

    root: Path
    clock: FakeClock = field(default_factory=FakeClock)
    ids: CountedIds = field(default_factory=CountedIds)
    planted: list[str] = field(default_factory=list)
    trees: Iterator[int] = field(default_factory=itertools.count)
    policy: RetentionPolicy | None = None

    def __post_init__(self) -> None:
        self.home = Home(self.root / "home")
        self.store = self.open()

    def open(self) -> Store:
        """The store, with both backends."""
        return Store.open(
            self.home.database,
            self.home.objects,
            further={SECOND: self.root / "second"},
            policy=self.policy,
            clock=self.clock,
            new_id=self.ids,
        )

    def reopen(self, policy: RetentionPolicy | None = None) -> None:
        """Close the store and open it again."""
        self.store.close()
        self.policy = policy
        self.store = self.open()

    def tick(self, *, days: float = 0, seconds: float = 0) -> None:
        """Move the clock."""
        self.clock.now += round((days * DAY + seconds) * MICROSECONDS)

    def push(
        self, files: Mapping[str, bytes] | bytes, retention_class: str = "transient", **further: Any
    ) -> str:
        """A finalized package; its id."""
        tree = {"data": files} if isinstance(files, bytes) else files
        directory = write_tree(self.root / f"tree-{next(self.trees)}", tree)
        said = {**SAID, "retention_class": retention_class, **further}
        return self.store.push(directory, **said).package.package_id

    def expired(self, *contents: bytes, days: float = 2) -> list[str]:
        """Packages that a sweep has marked."""
        packages = [self.push(content) for content in contents]
        self.tick(days=days)
        self.store.sweep(actor="cron")
        return packages

    def path(self, package: str, name: str = "data", *, backend: str = "local") -> Path:
        """Where the object of a file lies."""
        return self.object(self.store.get_file(package, name).digest.value, backend=backend)

    def object(self, blake3: bytes, *, backend: str = "local") -> Path:
        """Where an object lies."""
        root = self.home.objects if backend == "local" else self.root / backend
        return root / object_key(blake3)

    def manifest_path(self, package: str) -> Path:
        """Where the manifest of a package lies."""
        digest = self.store.get_package(package).manifest_digest
        assert digest is not None
        return self.object(digest.value)

    def plant(self, data: bytes, *, age: float = 0) -> Path:
        """An object that no event names, as old as that in seconds of the store's clock."""
        from artifactstore.digest import digest_pair

        path = self.object(digest_pair(data).blake3)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.age(path, age)
        return path

    def age(self, path: Path, seconds: float) -> None:
        """Set when a file was written, by the store's clock."""
        moment = self.clock.now * 1000 - round(seconds * 1e9)
        os.utime(path, ns=(moment, moment))

    def types(self, after: int = 0) -> list[str]:
        """The types of all events after a place."""
        return [event.type for event in self.store.events(after=after)]

    def newest(self) -> int:
        """The sequence of the newest event."""
        with self.store._database.read() as connection:
            return int(connection.execute("SELECT max(sequence) FROM events").fetchall()[0][0])

    def finish(self) -> None:
        """Assert that log, views and objects agree but for what was planted, and close."""
        self.store.close()
        with self.open() as store:
            findings = [f"{finding.part}: {finding.what}" for finding in store.fsck(read=True).findings]
        unexplained = [line for line in findings if not any(part in line for part in self.planted)]
        assert unexplained == []
        assert [part for part in self.planted if not any(part in line for line in findings)] == []
        assert self.home.staged() == []
