"""A store to damage: built once, damaged a thousand times, whole again after each."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
from lifecycle.harness import DAY, SECOND, Life
from store.harness import SAID, CountedIds, FakeClock, Home, incompressible, write_tree

from artifactstore import ArtifactStoreError, Store
from artifactstore.lifecycle import gc
from artifactstore.schema import EVENT_STATEMENTS, VIEW_KEYS, statement_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LATER = 400 * DAY * 1_000_000  # microseconds: the clock of those who look, after everything that happened
FILES = {f"data/{number:02}.bin": incompressible(97 + number, number) for number in range(40)}
SHARED = {"shared.log": b"needed by two packages\n" * 9}
TRIGGERS = {
    text.split()[2]: text
    for text in map(statement_text, EVENT_STATEMENTS)
    if text.startswith("CREATE TRIGGER")
}


@dataclass(frozen=True)
class Outcome:
    """What became of a damage.

    Args:
        refused: opening or checking the store ended with this.
        findings: of fsck, as `part: what`.
        same: everything that can be read is as it was before.
    """

    refused: ArtifactStoreError | None
    findings: tuple[str, ...]
    same: bool

    @property
    def detected(self) -> bool:
        """Whether somebody is told."""
        return self.refused is not None or bool(self.findings)

    @property
    def parts(self) -> set[str]:
        """The parts of the store that are accused."""
        return {line.partition(":")[0] for line in self.findings}


@dataclass
class Specimen:
    """A store that nobody has open, the bytes of its files, and what can be read from it."""

    root: Path
    files: dict[Path, bytes] = field(default_factory=dict)
    content: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)
    touched: set[Path] = field(default_factory=set)

    @property
    def home(self) -> Home:
        """The store's own place."""
        return Home(self.root / "home")

    @property
    def database(self) -> Path:
        """The database file."""
        return self.home.database

    @property
    def wal(self) -> Path:
        """Its write-ahead log."""
        return self.beside("-wal")

    def beside(self, suffix: str) -> Path:
        """A file that belongs to the database."""
        return Path(f"{self.database}{suffix}")

    def keep(self) -> Specimen:
        """Remember everything as it is now: this is the whole store."""
        self.beside("-shm").unlink(missing_ok=True)
        paths = sorted(path for path in self.root.rglob("*") if path.is_file())
        self.files = {path: path.read_bytes() for path in paths if "tree-" not in str(path)}
        self.content = self.read()
        self.restore()
        assert self.examine() == Outcome(None, (), same=True)
        self.restore()
        return self

    def open(self) -> Store:
        """The store, in the eyes of somebody who comes later."""
        return Store.open(
            self.database,
            self.home.objects,
            further={SECOND: self.root / "second"},
            create=False,
            clock=FakeClock(LATER),
            new_id=CountedIds(),
        )

    # Damage

    def write(self, path: Path, data: bytes | None) -> None:
        """Give a file other bytes, or take it away."""
        self.touched.add(path)
        if data is None:
            path.unlink()
            return
        if path.exists():
            path.chmod(0o600)
        path.write_bytes(data)

    def edit(self, statement: str, values: Sequence[object] = ()) -> bool:
        """Change rows by SQL, with the guards of the log out of the way; False if a constraint forbids it."""
        with contextlib.closing(apsw.Connection(str(self.database))) as connection:
            connection.pragma("synchronous", "OFF")
            with contextlib.suppress(apsw.ConstraintError, apsw.MismatchError), connection:
                for name in TRIGGERS:
                    connection.execute(f"DROP TRIGGER {name}")
                connection.execute(statement, tuple(values))
                for text in TRIGGERS.values():
                    connection.execute(text)
                return connection.total_changes() > 0
        return False

    def restore(self) -> None:
        """Undo every damage, and what the look at it has changed."""
        self.touched |= {self.database, *(self.beside(suffix) for suffix in ("-wal", "-shm", ".lock"))}
        for path in self.touched:
            if path in self.files:
                self.write(path, self.files[path])
            else:
                path.unlink(missing_ok=True)
        self.touched.clear()

    # Looking at it

    def examine(self) -> Outcome:
        """Open the store and check all of it; whatever is raised that is no error of ours goes through."""
        refused, findings = None, ()
        try:
            with self.open() as store:
                found = store.fsck(read=True).findings
            findings = tuple(f"{finding.part}: {finding.what}" for finding in found)
        except ArtifactStoreError as error:
            refused = error
        same = refused is None and not findings and self.read() == self.content
        return Outcome(refused, findings, same)

    def read(self) -> dict[str, list[tuple[object, ...]]]:
        """Every row of every table with its types, the schema, and the numbers that name the format."""
        with contextlib.closing(apsw.Connection(str(self.database))) as connection:
            tables = {
                name: self.rows(connection, name, f"ORDER BY {key}")
                for name, key in {"events": "sequence", **VIEW_KEYS}.items()
            }
            schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
            tables["schema"] = connection.execute(schema).fetchall()
            numbers = ("application_id", "user_version", "encoding")
            tables["header"] = [tuple(connection.pragma(name) for name in numbers)]
            tables["integrity"] = connection.execute("PRAGMA integrity_check").fetchall()
        return tables

    def rows(self, connection: apsw.Connection, name: str, rest: str = "") -> list[tuple[object, ...]]:
        """Rows of a table, texts as bytes, since a damaged one may be no Unicode."""
        columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({name})")]
        chosen = ", ".join(f"typeof({column}), CAST({column} AS BLOB)" for column in columns)
        return connection.execute(f"SELECT {chosen} FROM {name} {rest}").fetchall()

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of the whole store."""
        with contextlib.closing(apsw.Connection(str(self.database))) as connection:
            return connection.execute(sql).fetchall()

    @cached_property
    def owners(self) -> dict[int, str]:
        """The table or index that each page of the database belongs to; free pages are not in it."""
        rows = self.query("SELECT pageno, name FROM dbstat")
        return {int(str(page)): str(name) for page, name in rows}

    def named_after(self, sequence: int) -> frozenset[str]:
        """The objects and packages that the events after a place are about."""
        with self.open() as store:
            events = store.events(after=sequence)
        self.restore()
        found = {str(uuid.UUID(bytes=event.package_id)) for event in events if event.package_id is not None}
        for event in events:
            found |= {value.hex() for value in event.payload.values() if isinstance(value, bytes)}
        return frozenset(found)


def at_rest(root: Path) -> Specimen:
    """A closed store that has every kind of event and rows in every view."""
    life = Life(root)
    store = life.store
    held = life.push(
        {**FILES, **SHARED},
        "raw-evidence",
        metadata={"run": {"id": 7}, "tags": ["a", "b"]},
        idempotency_key="k",
    )
    life.push(SHARED, "permanent-record", name="another")
    opened = store.create_package(**SAID)
    store.ingest_file(opened, "draft.txt", b"a file of an open package", actor="ada")
    over = store.apply_hold(held, reason="case 7", authority="court", case_id="7", actor="law").hold_id
    store.release_hold(held, over, reason="settled", actor="law")
    store.apply_hold(held, reason="case 8", actor="law")
    store.extend_retention(held, by=30 * DAY, actor="law", reason="asked for")
    store.copy(source="local", target=SECOND, actor="ada")
    store.verify(actor="scrub")
    saved, *_ = life.expired(b"saved at the last moment", b"collected")
    store.apply_hold(saved, reason="case 9", actor="law")
    store.gc(actor="cron")
    life.expired(b"released, and still to be removed")
    for _ in gc.release(lambda: store._transaction("cron"), store.plan_gc(), life.clock):
        pass
    store.close()
    # Pages that belong to nothing, as a store that was migrated has them.
    with contextlib.closing(apsw.Connection(str(life.home.database))) as connection, connection:
        connection.execute("CREATE TABLE surplus AS SELECT zeroblob(9000)")
        connection.execute("DROP TABLE surplus")
    return Specimen(root).keep()


def killed(whole: Specimen, root: Path) -> Specimen:
    """The same store after more calls of a process that died at once: they are in the write-ahead log."""
    shutil.copytree(whole.root, root)
    die_at_work(root)
    return Specimen(root).keep()


def die_at_work(root: Path) -> None:
    """Some calls of another process, which dies before it can close the store."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-m", "crash.specimen", str(root)], check=True, env=environment)


def more_calls(specimen: Specimen) -> None:
    """What the process does that dies."""
    store = specimen.open()
    # Ids of its own, so that they do not meet those of the first process.
    store._new_id.counter = iter(range(10**6, 10**7))  # type: ignore[attr-defined]
    tree = write_tree(specimen.root / "tree-more", {"new.bin": incompressible(300, 99)})
    package = store.push(tree, **SAID).package.package_id
    store.apply_hold(package, reason="case 10", actor="law")
    store.extend_retention(package, by=DAY, actor="law")
    store.gc(actor="cron")
    store.create_package(**SAID)
    os._exit(0)


def each_restored(
    specimen: Specimen, cases: Sequence[Callable[[Specimen], bool | None]]
) -> Iterator[Outcome | None]:
    """The outcome of each damage; None where it could not be done."""
    for damage in cases:
        try:
            done = damage(specimen) is not False
            yield specimen.examine() if done else None
        finally:
            specimen.restore()


if __name__ == "__main__":
    more_calls(Specimen(Path(sys.argv[1])))
