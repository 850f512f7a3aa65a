"""Fsck: each fault is named, and nothing else is accused."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import Home, refused

from artifactstore import BackendError, codec, events
from lifecycle.harness import DAY, delete, flip, swap, truncate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lifecycle.harness import Life

CONTENT = b"some evidence\n" * 100
VIEWS = "views: they are not what the log says"
TRIGGERS = ("events_refuse_update", "events_refuse_delete", "events_refuse_gap")


def found(life: Life, *, read: bool = False) -> list[str]:
    return [f"{finding.part}: {finding.what}" for finding in life.store.fsck(read=read).findings]


def tamper(life: Life, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Change the log behind the store's back; its triggers are there again afterwards."""
    connection = life.home.connect()
    with connection:
        saved = [
            str(sql)
            for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            if name in TRIGGERS
        ]
        for name in TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement, values)
        for sql in saved:
            connection.execute(sql)
    connection.close()


def test_a_sound_store_is_clean_and_counted(life: Life) -> None:
    life.push({"a": CONTENT, "b": b"b"})
    life.expired(b"one")
    life.store.gc(actor="cron")
    life.push({"b": b"b"})
    with life.home.unchanged():
        result = life.store.fsck(read=True)
    assert result.clean
    assert (result.event_count, result.location_count, result.package_count) == (life.newest(), 2, 3)


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize(
    ("damage", "quick", "thorough"),
    [
        (flip, None, "digest differs"),
        (truncate, "1399 bytes instead of 1400", "wrong size"),
        (delete, "missing", "missing"),
    ],
    ids=["flip", "truncate", "delete"],
)
def test_a_damaged_object_is_named(
    life: Life, damage: Callable[[Path], None], quick: str | None, thorough: str, read: bool
) -> None:
    package = life.push({"data": CONTENT, "other": b"other"})
    digest = life.store.get_file(package, "data").digest
    damage(life.path(package))
    expected = thorough if read else quick
    where = f"objects: {digest} in backend local: "
    assert found(life, read=read) == ([] if expected is None else [where + expected])
    life.planted.append(where + thorough)


def test_swapped_objects_are_both_named(life: Life) -> None:
    package = life.push({"a": b"aaaa", "b": b"bbbb"})
    swap(life.path(package, "a"), life.path(package, "b"))
    assert found(life) == []
    digests = [life.store.get_file(package, name).digest for name in "ab"]
    life.planted += [f"objects: {digest} in backend local: digest differs" for digest in digests]
    assert sorted(found(life, read=True)) == sorted(life.planted)


@pytest.mark.parametrize("age", [0, 9 * DAY])
def test_a_stray_object_is_named(life: Life, age: int) -> None:
    life.push(CONTENT)
    path = life.plant(b"stray", age=age)
    life.planted.append(f"objects: blake3:{path.name} in backend local: no location names it")
    assert found(life) == life.planted


@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_a_damaged_manifest_is_named_with_its_package(life: Life, damage: Callable[[Path], None]) -> None:
    package = life.push(CONTENT)
    life.push(b"another")
    damage(life.manifest_path(package))
    lines = found(life, read=True)
    assert {line.partition(":")[0] for line in lines} == {"objects", "manifests"}
    digest = life.store.get_package(package).manifest_digest
    assert all(str(digest) in line or package in line for line in lines)
    assert f"manifests: package {package}" in " ".join(lines)
    life.planted += [f"objects: {digest}", f"package {package}"]


def test_an_edited_event_is_named(life: Life) -> None:
    package = life.push(CONTENT)
    life.store.extend_retention(package, by=DAY, actor="law", reason="good")
    sequence = life.newest()
    payload = dict(life.store.events(after=sequence - 1)[0].payload)
    payload["reason"] = "bad!"
    tamper(
        life,
        "UPDATE events SET payload = ? WHERE type = 'v1.retention.extended'",
        values=(codec.encode(payload),),
    )
    life.planted.append(f"log: event {sequence} does not have its leaf hash")
    assert found(life) == life.planted


def test_an_event_that_is_edited_with_its_hash_contradicts_the_views(life: Life) -> None:
    package = life.push(CONTENT)
    life.store.extend_retention(package, by=DAY, actor="law")
    event = life.store.events(after=life.newest() - 1)[0]
    payload = codec.encode({**event.payload, "expires_at": 1})
    connection = life.home.connect()
    [row] = list(connection.execute("SELECT * FROM events ORDER BY sequence DESC LIMIT 1"))
    connection.close()
    leaf = events.leaf_hash(*row[:6], payload)
    statement = "UPDATE events SET payload = ?, leaf_hash = ? WHERE sequence = ?"
    tamper(life, statement, values=(payload, leaf, event.sequence))
    life.planted.append(VIEWS)
    assert len(found(life)) == 1


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("UPDATE events SET payload = x'ff' WHERE sequence = {last}", "log: the payload of event {last} is"),
        (
            "UPDATE events SET recorded_at = 1 WHERE sequence = {last}",
            "log: event {last} was recorded before",
        ),
        ("DELETE FROM events WHERE sequence = {last} - 1", "log: after event {before} comes {last}"),
    ],
    ids=["not CBOR", "time", "gap"],
)
def test_a_damaged_log_is_named(life: Life, statement: str, line: str) -> None:
    package = life.push(CONTENT)
    for _ in range(2):
        life.store.extend_retention(package, by=DAY, actor="law")
    last = life.newest()
    tamper(life, statement.format(last=last))
    expected = line.format(last=last, before=last - 2)
    lines = found(life)
    assert any(entry.startswith(expected) for entry in lines)
    allowed = (expected, f"log: event {last} does not have its leaf hash", "views: ")
    assert [entry for entry in lines if not entry.startswith(allowed)] == []
    life.planted += [entry for entry in lines if "views" not in entry]
    life.planted += [entry for entry in lines if "views" in entry]


def rehashed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row of an event with the leaf hash that belongs to it."""
    return (*row[:7], events.leaf_hash(*row[:7]))


@pytest.mark.parametrize("attack", ["inserted", "cut", "swapped", "swapped with new hashes", "replaced"])
def test_a_forged_log_contradicts_the_views(life: Life, attack: str) -> None:
    """Whoever recomputes log and views in full is found by a digest that somebody kept elsewhere alone."""
    package = life.push(CONTENT)
    for _ in range(4):
        life.store.extend_retention(package, by=DAY, actor="law", reason="time")
    with contextlib.closing(life.home.connect()) as connection:
        rows = list(connection.execute("SELECT * FROM events ORDER BY sequence"))
    *_, third, _, last = rows
    insert = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    remove = "DELETE FROM events WHERE sequence >= ?"
    forged: list[tuple[Any, ...]]
    if attack == "inserted":
        cut, forged = last[0] + 1, [rehashed((last[0] + 1, bytes(16), *last[2:]))]
    elif attack == "cut":
        cut, forged = third[0], []
    elif attack == "replaced":
        payload = codec.encode({"reason": "time", "expires_at": None})
        cut, forged = last[0], [rehashed((*last[:6], payload, b""))]
    else:
        moved = [(third[0], *last[1:]), (last[0], *third[1:])]
        if attack.endswith("hashes"):
            moved = [rehashed(row) for row in moved]
        cut, forged = third[0], [moved[0], rows[-2], moved[1]]
    tamper(life, remove, values=(cut,))
    for row in forged:
        tamper(life, insert, values=row)
    lines = found(life)
    if attack == "swapped":
        assert [line for line in lines if "leaf hash" in line] == [
            f"log: event {sequence} does not have its leaf hash" for sequence in (third[0], last[0])
        ]
    assert any(line.startswith("views: ") for line in lines)
    life.planted += lines


def test_an_older_database_is_told_by_the_objects_that_it_does_not_know(life: Life, tmp_path: Path) -> None:
    life.push(b"before")
    life.store._database.backup(str(tmp_path / "older.db"))
    package = life.push(b"after")
    objects = {life.store.get_file(package, "data").digest, life.store.get_package(package).manifest_digest}
    life.store.close()
    for suffix in ("-wal", "-shm"):
        life.home.database.with_name(f"{life.home.database.name}{suffix}").unlink(missing_ok=True)
    os.rename(tmp_path / "older.db", life.home.database)
    life.reopen()
    life.planted += [f"objects: {digest} in backend local: no location names it" for digest in objects]
    assert sorted(found(life)) == sorted(life.planted)


def test_a_database_of_another_store_does_not_open_over_these_objects(life: Life, tmp_path: Path) -> None:
    life.push(CONTENT)
    life.store.close()
    with Home(tmp_path / "other").open() as other:
        other._database.backup(str(tmp_path / "other.db"))
        foreign = str(other.store_id)
    kept = tmp_path / "kept.db"
    os.rename(life.home.database, kept)
    os.rename(tmp_path / "other.db", life.home.database)
    with refused(BackendError, "backend-foreign"):
        life.open()
    assert foreign not in life.home.marker().read_text()
    life.home.database.unlink()
    os.rename(kept, life.home.database)
    life.store = life.open()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE retention_state SET expires_at = expires_at - 1",
        "UPDATE retention_state SET eligible_at = 1, eligible_reason = 'expired', eligible_by = 'me'",
        "UPDATE retention_state SET hold_count = 0",
        "DELETE FROM retention_history",
        "UPDATE storage_locations SET verified_at = 1",
        "INSERT INTO pending_deletions SELECT blake3, backend_id, size FROM storage_locations LIMIT 1",
        "UPDATE artifact_packages SET producer = 'else'",
        "DELETE FROM idempotency_keys",
        "DELETE FROM retention_classes",
    ],
)
def test_an_edited_view_is_named_and_mended_by_replay(life: Life, statement: str) -> None:
    package = life.push(CONTENT, idempotency_key="key")
    life.store.apply_hold(package, reason="lawsuit", actor="law")
    life.home.tamper(statement)
    (line,) = found(life, read=True)
    assert line.startswith(VIEWS)
    assert not life.store.replay().identical


def test_a_held_package_that_lost_its_bytes_is_named(life: Life) -> None:
    """What no call does, an event written by hand does."""
    package = life.push(CONTENT)
    life.store.apply_hold(package, reason="lawsuit", actor="law")
    import uuid

    with life.store._transaction("mallory") as transaction:
        transaction.record(
            [events.garbage_collected(uuid.UUID(package).bytes, reason="expired", plan_digest=bytes(32))]
        )
    life.planted.append(f"retention: package {package} is held, but its bytes were released")
    assert found(life) == life.planted


def test_a_damaged_database_file_is_named(life: Life) -> None:
    """A page that belongs to nothing: its index was cut out of the schema and made again."""
    life.push(CONTENT)
    with contextlib.closing(life.home.connect()) as connection, connection:
        name = "files_by_sha256"
        [(sql,)] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchall()
        connection.pragma("writable_schema", True)
        connection.execute("DELETE FROM sqlite_schema WHERE name = ?", (name,))
        connection.pragma("writable_schema", "RESET")
    with contextlib.closing(life.home.connect()) as connection, connection:
        connection.execute(str(sql))
    (line,) = found(life, read=True)
    assert line.startswith("database: ")
    assert "never used" in line
    life.planted.append("never used")


def test_fsck_of_a_store_whose_second_backend_is_not_configured(life: Life) -> None:
    from artifactstore import Store

    package = life.push(CONTENT)
    life.store.copy(source="local", target="second", actor="ada")
    life.store.close()
    with Store.open(life.home.database, life.home.objects, clock=life.clock) as store:
        lines = [finding.what for finding in store.fsck().findings]
        assert len(lines) == 2
        assert all(line.endswith("in backend second: the backend is not configured") for line in lines)
        # Gc cannot remove there, and says nothing false about it.
        life.tick(days=2)
        store.sweep(actor="cron")
        assert store.gc(actor="cron").removed_count == 2
    life.store = life.open()
    copy = life.path(package, backend="second")
    assert copy.exists()
    assert life.store.gc(actor="cron").removed_count == 2
    assert not copy.exists()


def test_fsck_names_what_it_may_not_read(life: Life) -> None:
    from store.harness import unprivileged

    package = life.push(CONTENT)
    path = life.path(package)
    path.chmod(0)
    with unprivileged():
        lines = found(life, read=True)
    assert lines == [f"objects: {life.store.get_file(package, 'data').digest} in backend local: unreadable"]
    os.chmod(path, 0o400)
