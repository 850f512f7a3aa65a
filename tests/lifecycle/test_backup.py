"""Backup: a whole database under a new name, or nothing."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import apsw
import pytest
from store.harness import SAID, Home, refused, unprivileged

from artifactstore import (
    AccessError,
    ConflictError,
    IntegrityError,
    InvalidInputError,
    StateError,
    Store,
    database,
    local_files,
)
from artifactstore.lifecycle import backup
from lifecycle.harness import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lifecycle.harness import Life


def restored(life: Life, copy: Path) -> Store:
    """The store that a backup and the objects give."""
    return Store.open(copy, life.home.objects, further={SECOND: life.root / "second"}, create=False)


def test_a_backup_is_a_store(life: Life) -> None:
    life.expired(b"gone")
    life.store.gc(actor="cron")
    package = life.push({"a": b"a", "b": b"b"})
    copy = life.root / "copy.db"
    with life.home.unchanged():
        result = life.store.backup(copy)
    assert (result.path, result.event_count) == (str(copy), life.newest())
    assert result.size == copy.stat().st_size
    assert copy.stat().st_mode & 0o777 == 0o600
    before = life.home.snapshot()
    with restored(life, copy) as store:
        assert store.fsck(read=True).clean
        assert store.read_file(package, "a") == b"a"
        store.create_package(**SAID)
    # What is done to the copy is not done to the store.
    assert life.home.snapshot() == before


def test_a_relative_path_through_a_linked_folder(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    (life.root / "real").mkdir()
    (life.root / "link").symlink_to("real")
    monkeypatch.chdir(life.root)
    assert life.store.backup("link/copy.db").path == str(life.root / "real" / "copy.db")
    assert [path.name for path in (life.root / "real").iterdir()] == ["copy.db"]


@pytest.mark.parametrize("taken", ["file", "folder", "dangling link", "the database itself"])
def test_what_has_the_name_already_is_left_alone(life: Life, taken: str) -> None:
    path = life.root / "copy.db"
    if taken == "file":
        path.write_bytes(b"an older backup")
    elif taken == "folder":
        path.mkdir()
    elif taken == "dangling link":
        path.symlink_to("nowhere")
    else:
        path = life.home.database
    before = sorted(life.root.rglob("*"))
    with life.home.unchanged(), refused(ConflictError, "conflict", str(path), "exists already"):
        life.store.backup(path)
    assert sorted(life.root.rglob("*")) == before
    if taken == "file":
        assert path.read_bytes() == b"an older backup"


@pytest.mark.parametrize("one_step", [True, False], ids=["one step", "two steps"])
def test_what_gets_the_name_while_the_copy_is_made_is_left_alone(
    life: Life, monkeypatch: pytest.MonkeyPatch, *, one_step: bool
) -> None:
    """Also on file systems that cannot look and rename in one step."""
    path, look = life.root / "copy.db", backup._event_count

    def late(*arguments: Any) -> int:
        path.write_bytes(b"somebody else's")
        return look(*arguments)

    monkeypatch.setattr(backup, "_event_count", late)
    if not one_step:
        monkeypatch.setattr(local_files, "_NOREPLACE", 1 << 30)
    with life.home.unchanged(), refused(ConflictError, "conflict", str(path), "exists already"):
        life.store.backup(path)
    assert path.read_bytes() == b"somebody else's"
    assert list(life.root.glob("*.partial")) == []


def test_a_file_system_that_cannot_look_and_rename_in_one_step(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "_NOREPLACE", 1 << 30)
    assert life.store.backup(life.root / "copy.db").event_count == life.newest()
    assert list(life.root.glob("copy.db*")) == [life.root / "copy.db"]


@pytest.mark.parametrize("path", ["no-folder/copy.db", "a-file/copy.db"])
def test_a_place_where_no_file_can_be(life: Life, path: str) -> None:
    (life.root / "a-file").touch()
    with refused(InvalidInputError, "invalid-input", path, "there is no folder"):
        life.store.backup(life.root / path)


def test_a_folder_that_may_not_be_written(life: Life) -> None:
    (life.root / "sealed").mkdir(mode=0o500)
    with unprivileged(), refused(AccessError, "access-denied", str(life.root / "sealed" / "copy.db")):
        life.store.backup(life.root / "sealed" / "copy.db")
    assert list((life.root / "sealed").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("UPDATE events SET actor = 'eve' WHERE sequence = 3", "event 3 does not have its leaf hash"),
        ("DELETE FROM events WHERE sequence = 3", "event 3 is missing"),
        ("DROP INDEX packages_by_name", "packages_by_name"),
    ],
    ids=["altered", "deleted", "index"],
)
def test_a_damaged_database_gives_no_backup(tmp_path: Path, damage: str, named: str) -> None:
    home = Home(tmp_path / "home")
    with home.open() as store:
        store.create_package(**SAID)
        with contextlib.closing(home.connect()) as connection, connection:
            triggers = connection.execute(
                "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
            ).fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute(damage)
            for _, sql in triggers:
                connection.execute(str(sql))
        with refused(IntegrityError, "database-damaged", str(home.database), named):
            store.backup(tmp_path / "copy.db")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_log_that_has_become_shorter_gives_no_backup(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.open() as store:
        store.backup(tmp_path / "older.db")
        store.create_package(**SAID)
    for suffix in ("", "-wal", "-shm"):
        (home.root / f"{home.database.name}{suffix}").unlink(missing_ok=True)
    os.rename(tmp_path / "older.db", home.database)
    with (
        home.open(create=False) as store,
        refused(IntegrityError, "database-damaged", str(home.database), "was acknowledged"),
    ):
        store.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_closed_store_gives_no_backup(tmp_path: Path) -> None:
    store = Home(tmp_path / "home").open()
    store.close()
    with pytest.raises(StateError, match="closed"):
        store.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


class _Watched:
    """SQLite's backup, with a commit of somebody else before each of its steps."""

    def __init__(self, backup: apsw.Backup, others: Iterator[object]) -> None:
        self._backup, self._others = backup, others

    def __enter__(self) -> _Watched:
        self._backup.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._backup.__exit__(*error)

    @property
    def done(self) -> bool:
        return self._backup.done

    def step(self, pages: int) -> None:
        next(self._others)
        self._backup.step(pages)


def test_writers_go_on_and_do_not_make_a_backup_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    with home.open() as store, home.open() as other:

        def commits() -> Iterator[object]:
            # With each commit that makes the copy begin anew it would need more of them, without end.
            for _ in range(before_pages // 5 + 1):
                yield other.create_package(**SAID)

        others = commits()

        class Stepping(apsw.Connection):
            def backup(self, *names: Any) -> Any:
                return _Watched(super().backup(*names), others)

        with contextlib.closing(home.connect()) as connection:
            before_pages = int(connection.pragma("page_count"))
        events = store.events()[-1].sequence
        monkeypatch.setattr(database, "Connection", Stepping)
        monkeypatch.setattr(database, "_PAGES_AT_ONCE", 5)
        result = store.backup(tmp_path / "copy.db")
        monkeypatch.undo()
        assert result.event_count == events
        assert store.events()[-1].sequence > events + 3
        assert store.fsck().clean


def test_two_backups_at_once_are_two_whole_backups(life: Life) -> None:
    life.push(b"some evidence")
    results: list[int] = []

    def back_up(name: str) -> None:
        results.append(life.store.backup(life.root / name).event_count)

    threads = [threading.Thread(target=back_up, args=(f"copy-{number}.db",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [life.newest()] * 4
    assert not list(life.root.glob("*.partial"))
    for number in range(4):
        with restored(life, life.root / f"copy-{number}.db") as store:
            assert store.fsck(read=True).clean
