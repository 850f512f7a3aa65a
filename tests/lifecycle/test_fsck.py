"""Fsck: each fault is named, and nothing else is accused."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from artifactstore import codec, event_log, events
from lifecycle.harness import DAY, SECOND, delete, flip, swap, truncate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lifecycle.harness import Life

CONTENT = b"some evidence\n" * 100
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
    needed = f"; needed by package {package}"
    assert found(life, read=read) == ([] if expected is None else [where + expected + needed])
    life.planted.append(where + thorough)


def test_a_damaged_object_is_named_with_some_of_the_packages_that_need_it(life: Life) -> None:
    packages = [life.push({"data": CONTENT, "own": f"{number}".encode()}) for number in range(5)]
    delete(life.path(packages[0]))
    (line,) = found(life)
    assert line.endswith(f": missing; needed by package {', '.join(packages[:3])} and 2 more")
    life.planted.append(line)


def test_swapped_objects_are_both_named(life: Life) -> None:
    package = life.push({"a": b"aaaa", "b": b"bbbb"})
    swap(life.path(package, "a"), life.path(package, "b"))
    assert found(life) == []
    digests = [life.store.get_file(package, name).digest for name in "ab"]
    said = f"digest differs; needed by package {package}"
    life.planted += [f"objects: {digest} in backend local: {said}" for digest in digests]
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


def forge(life: Life, sequence: int, **columns: object) -> None:
    """Change an event and give it the hash that it then has."""
    with contextlib.closing(life.home.connect()) as connection:
        rows = connection.execute("SELECT * FROM events WHERE sequence = ?", (sequence,))
        names = [name for name, *_ in rows.get_description()]
        row = {**dict(zip(names, rows.get, strict=True)), **columns}
    leaf = event_log.leaf_hash(*(row[name] for name in names[:-1]))
    assignments = ", ".join(f"{name} = ?" for name in columns)
    statement = f"UPDATE events SET {assignments}, leaf_hash = ? WHERE sequence = {sequence}"  # noqa: S608
    tamper(life, statement, values=(*columns.values(), leaf))


def test_an_event_that_is_edited_with_its_hash_contradicts_the_views(life: Life) -> None:
    package = life.push(CONTENT)
    life.store.extend_retention(package, by=DAY, actor="law")
    event = life.store.events(after=life.newest() - 1)[0]
    life.push(CONTENT)
    forge(life, event.sequence, payload=codec.encode({**event.payload, "expires_at": 1}))
    (line,) = found(life)
    created = event.sequence - 3
    assert line == f"views: retention_state package_sequence {created}: expires_at not as in the log"
    life.planted.append(line)


def test_the_last_event_edited_with_its_hash_is_not_the_one_that_was_acknowledged(life: Life) -> None:
    package = life.push(CONTENT)
    life.store.extend_retention(package, by=DAY, actor="law")
    last = life.newest()
    forge(life, last, actor="mallory")
    life.planted.append(f"log: event {last} is not the one that was acknowledged")
    assert found(life) == life.planted


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"payload": b"\xff"}, "the payload of event {middle} is not deterministic CBOR"),
        ({"recorded_at": 1}, "event {middle} was recorded before the one in front of it"),
    ],
    ids=["not CBOR", "time"],
)
def test_an_event_that_cannot_be_is_named_though_its_hash_is_right(
    life: Life, columns: dict[str, object], line: str
) -> None:
    package = life.push(CONTENT)
    for _ in range(2):
        life.store.extend_retention(package, by=DAY, actor="law")
    middle = life.newest() - 1
    forge(life, middle, **columns)
    (found_line,) = found(life)
    life.planted.append(f"log: {line.format(middle=middle)}")
    assert found_line.startswith(life.planted[0])


@pytest.mark.parametrize(
    ("statement", "lines"),
    [
        (
            "DELETE FROM events WHERE sequence = {middle}",
            ["event {middle} is missing: after {before} comes {last}"],
        ),
        (
            "DELETE FROM events WHERE sequence = {last}",
            ["event {last} was acknowledged, but the log ends at event {middle}"],
        ),
        (
            "UPDATE events SET actor = CAST(x'ff' AS TEXT) WHERE sequence = {middle}",
            ["event {middle} does not have its leaf hash"],
        ),
        (
            "UPDATE events SET recorded_at = recorded_at + 1000000 WHERE sequence = {middle}",
            ["event {middle} does not have its leaf hash"],
        ),
    ],
    ids=["gap", "end", "not text", "time"],
)
def test_a_damaged_log_is_named_and_its_views_are_not(life: Life, statement: str, lines: list[str]) -> None:
    package = life.push(CONTENT)
    for _ in range(2):
        life.store.extend_retention(package, by=DAY, actor="law")
    last = life.newest()
    places = {"last": last, "middle": last - 1, "before": last - 2}
    tamper(life, statement.format(**places))
    life.planted += [f"log: {line.format(**places)}" for line in lines]
    assert found(life, read=True) == life.planted


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        (
            "UPDATE retention_state SET expires_at = expires_at - 1",
            "retention_state package_sequence 7: expires_at not as in the log",
        ),
        (
            "UPDATE retention_state SET eligible_at = 1, eligible_reason = 'expired', eligible_by = 'me'",
            "retention_state package_sequence 7: eligible_at, eligible_reason, eligible_by not as in the log",
        ),
        (
            "UPDATE retention_state SET hold_count = 0",
            "retention_state package_sequence 7: hold_count not as in the log",
        ),
        (
            "DELETE FROM retention_history WHERE sequence = 7",
            "retention_history package_sequence 7, sequence 7: missing",
        ),
        (
            "UPDATE storage_locations SET state = 'failed' WHERE sequence = 8",
            "storage_locations blake3 {blake3}, backend_id 'local', sequence 8: state not as in the log",
        ),
        (
            "INSERT INTO pending_deletions SELECT blake3, 'local', 1 FROM artifact_files WHERE sequence = 8",
            "pending_deletions blake3 {blake3}, backend_id 'local': the log knows no such row",
        ),
        (
            "UPDATE artifact_packages SET producer = CAST(x'ff' AS TEXT)",
            "artifact_packages sequence 7: producer not as in the log",
        ),
        ("DELETE FROM idempotency_keys", "idempotency_keys idempotency_key 'key': missing"),
        (
            "DELETE FROM retention_classes WHERE retention_class = 'transient'",
            "retention_classes retention_class 'transient': missing",
        ),
        ("DELETE FROM retention_holds", "retention_holds hold_id {hold}: missing"),
    ],
)
def test_an_edited_view_is_named_with_its_row_and_mended_by_replay(
    life: Life, statement: str, line: str
) -> None:
    package = life.push(CONTENT, idempotency_key="key")
    hold = life.store.apply_hold(package, reason="lawsuit", actor="law").hold_id
    blake3 = life.store.get_file(package, "data").digest.value.hex()
    life.home.tamper(statement)
    assert found(life, read=True) == [f"views: {line.format(blake3=blake3, hold=hold)}"]
    assert not life.store.replay().identical


def test_where_many_rows_of_a_view_differ_the_first_are_named(life: Life) -> None:
    life.push({f"{number:02}": CONTENT for number in range(20)})
    life.home.tamper("UPDATE artifact_files SET size = size + 1")
    lines = found(life, read=True)
    assert lines[0] == "views: artifact_files sequence 8: size not as in the log"
    assert (len(lines), lines[-1]) == (11, "views: artifact_files: more rows differ")
    life.store.replay()


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
        line = "backend second is not configured; objects in it: 2"
        assert [finding.what for finding in store.fsck().findings] == [line]
        assert store.health().status == "ok"
        assert store.health().warnings == ("backend second holds objects and is not configured",)
        # Gc cannot remove there, and says nothing false about it.
        life.tick(days=2)
        store.sweep(actor="cron")
        result = store.gc(actor="cron")
        assert (result.removed_count, result.waiting_count) == (2, 2)
    life.store = life.open()
    assert life.store.health().warnings == ()
    copy = life.path(package, backend="second")
    assert copy.exists()
    result = life.store.gc(actor="cron")
    assert (result.removed_count, result.waiting_count) == (2, 0)
    assert not copy.exists()


def test_fsck_names_what_it_may_not_read(life: Life) -> None:
    from store.harness import unprivileged

    package = life.push(CONTENT)
    path = life.path(package)
    path.chmod(0)
    with unprivileged():
        lines = found(life, read=True)
    digest = life.store.get_file(package, "data").digest
    assert lines == [f"objects: {digest} in backend local: unreadable; needed by package {package}"]
    os.chmod(path, 0o400)


def test_an_event_without_content_is_named(life: Life) -> None:
    """What no statement can write, a damaged page can hold."""
    life.push(CONTENT)
    middle = life.newest() - 1
    with contextlib.closing(life.home.connect()) as connection:
        [(sql,)] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'events'").fetchall()
        connection.pragma("writable_schema", True)
        loose = "UPDATE sqlite_schema SET sql = ? WHERE name = 'events'"
        connection.execute(loose, (str(sql).replace("BLOB NOT NULL", "BLOB"),))
        connection.pragma("writable_schema", "RESET")
        tamper(life, f"UPDATE events SET payload = NULL, leaf_hash = NULL WHERE sequence = {middle}")  # noqa: S608
        connection.pragma("writable_schema", True)
        connection.execute(loose, (sql,))
        connection.pragma("writable_schema", "RESET")
    lines = found(life, read=True)
    life.planted += ["NULL value in events.", f"log: event {middle} does not have its leaf hash"]
    assert [line for line in lines if not line.startswith("database: NULL value")] == life.planted[1:]


@pytest.mark.parametrize("content", ["", '{"format": 7, "store_id": "6f1c4b0e-9d52-4c57-8a3e-2f0b7d9c1e48"}'])
def test_a_copy_whose_marker_is_damaged_is_named_and_nothing_in_it(life: Life, content: str) -> None:
    life.push(CONTENT)
    life.store.copy(source="local", target=SECOND, actor="ada")
    (life.root / SECOND / "artifactstore.json").write_text(content)
    life.reopen()
    (line,) = found(life, read=True)
    assert line.startswith(f"objects: backend {SECOND}: ")
    assert str(life.root / SECOND) in line
    life.planted.append(line)
