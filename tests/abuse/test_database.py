"""Databases that are none, another's, too new, too old, locked, read-only, tampered with."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import apsw
import pytest
from cli.harness import answer_of
from store.harness import SAID, TREE, Home, refused, unprivileged

from artifactstore import (
    AccessError,
    ArtifactStoreError,
    BusyError,
    IntegrityError,
    StateError,
    Store,
    StoreNotFoundError,
    codec,
    events,
)
from artifactstore.database import Database
from artifactstore.health import probe
from artifactstore.objects.local import LocalBackend
from artifactstore.rebuild import migrate, replay
from artifactstore.schema import EVENT_STATEMENTS, SCHEMA_VERSION, statement_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.harness import FakeClock

    from artifactstore import Health

REST = "recorded_at, payload, leaf_hash FROM events WHERE sequence = 7"
CHANGED = [
    "CREATE TABLE surplus (x)",
    "CREATE VIEW surplus AS SELECT 1",
    "CREATE INDEX surplus ON events (actor)",
    "CREATE INDEX surplus ON artifact_files (size)",
    "CREATE TRIGGER surplus AFTER INSERT ON events BEGIN UPDATE artifact_packages SET name = 'x'; END",
    "CREATE TRIGGER surplus AFTER INSERT ON artifact_files BEGIN DELETE FROM artifact_files; END",
    "DROP TABLE artifact_files",
    "DROP INDEX packages_by_name",
    "ALTER TABLE artifact_packages ADD COLUMN surplus TEXT",
]
LOG_CHANGED = [
    "DROP TRIGGER events_refuse_update",
    "DROP TRIGGER events_refuse_delete",
    "DROP TRIGGER events_refuse_gap",
    "ALTER TABLE events ADD COLUMN surplus TEXT",
    "ALTER TABLE events RENAME TO other",
]


@pytest.fixture
def filled(home: Home, tree: Path) -> Home:
    """A closed store with a package in it."""
    with home.open() as store:
        store.push(tree, **SAID, metadata={"run": 7})
    return home


@contextlib.contextmanager
def database_of(home: Home) -> Iterator[Database]:
    """The database alone, as `migrate` and `replay` open it when the store cannot be opened."""
    database = Database(str(home.database))
    try:
        yield database
    finally:
        database.close()


def health_of(home: Home, clock: FakeClock) -> Health:
    with database_of(home) as database:
        return probe(database, [LocalBackend(str(home.objects))], clock)


def files_of(root: Path) -> dict[str, bytes]:
    """All files below a root; only for what this process has not open as a database."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def make_foreign(path: Path, *statements: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def forge(home: Home, edit: str, *, sequence: int = 8) -> None:
    """Change an event and put its guards back, so that only its content shows it."""
    (guard,) = (statement for statement in EVENT_STATEMENTS if "events_refuse_update" in statement)
    home.tamper(
        "DROP TRIGGER events_refuse_update",
        f"UPDATE events SET {edit} WHERE sequence = {sequence}",  # noqa: S608 - the test's own text
        statement_text(guard),
    )


def assert_degraded(home: Home, clock: FakeClock, reason: str) -> None:
    health = health_of(home, clock)
    assert health.status == "degraded"
    assert not health.db.healthy
    assert reason in health.db.reasons[0]


def test_no_store_and_none_may_be_made(home: Home, clock: FakeClock) -> None:
    with refused(StoreNotFoundError, "store-not-found", str(home.database)):
        home.open(create=False)
    assert_degraded(home, clock, "there is no store")
    assert not home.root.exists()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"short", b"SQLite format 3\x00"])
def test_a_file_that_is_not_sqlite(home: Home, clock: FakeClock, content: bytes) -> None:
    home.root.mkdir()
    home.database.write_bytes(content)
    for create in (True, False):
        with refused(IntegrityError, "database-damaged", str(home.database), "not SQLite"):
            home.open(create=create)
    assert_degraded(home, clock, "not SQLite")
    assert files_of(home.root) == {"artifactstore.db": content}


@pytest.mark.parametrize("there", ["folder", "link"])
def test_a_path_that_is_no_file(home: Home, clock: FakeClock, there: str) -> None:
    home.root.mkdir()
    if there == "folder":
        home.database.mkdir()
    else:
        make_foreign(home.root / "other.db", "CREATE TABLE t (x)")
        home.database.symlink_to("other.db")
    if there == "folder":
        with refused(StateError, "not-a-store", str(home.database), "it is a folder"):
            home.open()
    else:
        with refused(AccessError, "access-denied", str(home.database)):
            home.open()
    assert_degraded(home, clock, str(home.database))


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_a_path_that_is_no_file_of_the_disk(
    home: Home, clock: FakeClock, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.root.mkdir()
    if kind == "fifo":
        os.mkfifo(home.database)
    elif kind == "socket":
        monkeypatch.chdir(home.root)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(home.database.name)
    elif os.geteuid() == 0:
        os.mknod(home.database, 0o20600, os.makedev(1, 5))
    else:
        pytest.skip("only root makes devices")
    for create in (True, False):
        with refused(StateError, "not-a-store", str(home.database)):
            home.open(create=create)
    assert_degraded(home, clock, "a device, a FIFO or a socket")
    assert [path.name for path in home.root.iterdir()] == [home.database.name]


def test_a_database_with_a_second_name(filled: Home, clock: FakeClock) -> None:
    # SQLite would keep a log beside each of the names.
    before = files_of(filled.root)
    other = filled.root / "other.db"
    os.link(filled.database, other)
    for path in (filled.database, other):
        with refused(StateError, "database-linked", str(path), "2 names"):
            Store.open(path, filled.objects)
    assert_degraded(filled, clock, "2 names")
    other.unlink()
    assert files_of(filled.root) == before
    with filled.open() as store:
        assert store.replay(check=True).identical


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"a file")
    with refused(AccessError, "access-denied", str(tmp_path / "home")):
        Home(tmp_path / "home").open()
    assert files_of(tmp_path) == {"home": b"a file"}


def test_a_folder_behind_a_link_is_fine(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Home(tmp_path / "link").open() as store:
        package = store.push(tree, **SAID).package
    with Home(tmp_path / "real").open(create=False) as store:
        assert store.get_package(package.package_id) == package


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE songs (title TEXT)", "INSERT INTO songs VALUES ('a')"],
        ["PRAGMA application_id = 7"],
        ["PRAGMA user_version = 7"],
        ["PRAGMA application_id = 0x41525453; CREATE TABLE songs (title TEXT); PRAGMA application_id = 1"],
    ],
)
def test_another_applications_database(home: Home, clock: FakeClock, statements: list[str]) -> None:
    make_foreign(home.database, *statements)
    before = files_of(home.root)
    for create in (True, False):
        with refused(StateError, "not-a-store", str(home.database), "not an artifactstore database"):
            home.open(create=create)
    assert_degraded(home, clock, "not an artifactstore database")
    assert files_of(home.root) == before


@pytest.mark.parametrize("statement", ["", "PRAGMA user_version = 0"])
def test_what_a_crash_left_before_the_first_commit_is_no_store_yet(home: Home, statement: str) -> None:
    make_foreign(home.database, statement)
    with refused(StoreNotFoundError, "store-not-found"):
        home.open(create=False)
    with home.open() as store:
        assert store.health().status == "ok"


def test_a_newer_store(filled: Home, clock: FakeClock) -> None:
    filled.tamper(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with filled.unchanged():
        with refused(StateError, "store-too-new", str(SCHEMA_VERSION + 1)):
            filled.open()
        with database_of(filled) as database:
            with refused(StateError, "store-too-new", str(SCHEMA_VERSION + 1)):
                migrate(database, clock)
            with refused(StateError, "store-too-new", str(SCHEMA_VERSION + 1)):
                replay(database)
        assert_degraded(filled, clock, "newer")


def test_an_older_store_is_refused_until_it_is_migrated(filled: Home, clock: FakeClock, tree: Path) -> None:
    current = filled.snapshot()
    # As an older version may have left it: another shape of the views, and a view that is gone since.
    filled.tamper(
        "DROP TABLE artifact_files",
        "CREATE TABLE artifact_files (sequence INTEGER PRIMARY KEY, path TEXT) STRICT",
        "CREATE TABLE former_view (x INTEGER)",
        f"PRAGMA user_version = {SCHEMA_VERSION - 1}",
    )
    old = filled.snapshot()
    with filled.unchanged(), refused(StateError, "store-needs-migration", f"version {SCHEMA_VERSION - 1}"):
        filled.open()
    assert_degraded(filled, clock, "artifactstore migrate")
    with database_of(filled) as database:
        result = migrate(database, clock)
        assert (result.version_before, result.version_after) == (SCHEMA_VERSION - 1, SCHEMA_VERSION)
        assert migrate(database, clock) == type(result)(SCHEMA_VERSION, SCHEMA_VERSION, None)
    after = filled.snapshot()
    assert (after.tables, after.objects, after.version) == (current.tables, current.objects, current.version)
    assert {row[:3] for row in after.schema} == {row[:3] for row in current.schema}
    with filled.open(create=False) as store:
        assert store.push(tree, **SAID, if_changed=True).unchanged
        assert store.replay(check=True).identical
    # The backup holds everything as it was.
    assert result.backup is not None
    assert os.stat(result.backup).st_mode & 0o777 == 0o600
    (filled.root / "restored").mkdir()
    restored = Home(filled.root / "restored")
    os.rename(result.backup, restored.database)
    assert (restored.snapshot().tables, restored.snapshot().version) == (old.tables, old.version)


def test_a_restored_backup_is_a_store_as_durable_as_before(filled: Home, tmp_path: Path, tree: Path) -> None:
    with database_of(filled) as database:
        database.backup(str(tmp_path / "copy.db"))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{filled.database}{suffix}")
    os.rename(tmp_path / "copy.db", filled.database)
    with filled.open(create=False) as store:
        assert store.push(tree, **SAID, if_changed=True).unchanged
        store.create_package(**SAID)
        with contextlib.closing(filled.connect()) as connection:
            # Only with a write-ahead log does synchronous=FULL keep every acknowledged commit.
            assert connection.pragma("journal_mode") == "wal"


@pytest.mark.parametrize("statement", CHANGED)
def test_a_changed_schema_is_refused_and_replay_repairs_it(
    filled: Home, clock: FakeClock, tree: Path, statement: str
) -> None:
    sound = filled.snapshot()
    filled.tamper(statement)
    with filled.unchanged(), refused(IntegrityError, "schema-changed", str(filled.database)):
        filled.open()
    assert_degraded(filled, clock, "artifactstore replay")
    with database_of(filled) as database:
        replay(database)
    repaired = filled.snapshot()
    assert repaired.tables == sound.tables
    assert {row[:3] for row in repaired.schema} == {row[:3] for row in sound.schema}
    with filled.open(create=False) as store:
        assert store.push(tree, **SAID, if_changed=True).unchanged


@pytest.mark.parametrize("statement", LOG_CHANGED)
def test_a_log_without_its_guards_is_refused_by_all(filled: Home, clock: FakeClock, statement: str) -> None:
    filled.tamper(statement)
    with filled.unchanged():
        with refused(IntegrityError, "schema-changed", str(filled.database)):
            filled.open()
        with database_of(filled) as database:
            for repair in (
                lambda: replay(database),
                lambda: replay(database, check=True),
                lambda: migrate(database, clock),
            ):
                with refused(IntegrityError, "schema-changed", "event log"):
                    repair()
        assert_degraded(filled, clock, "event log")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET actor = 'eve' WHERE sequence = 7",
        "UPDATE events SET actor = actor",
        "DELETE FROM events WHERE sequence = 7",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE sequence = 7",
        f"REPLACE INTO events SELECT sequence, event_id, type, package_id, 'eve', {REST}",
        "INSERT INTO events SELECT * FROM events WHERE sequence = 7 ON CONFLICT DO UPDATE SET actor = 'eve'",
        "UPDATE OR REPLACE events SET sequence = 1 WHERE sequence = 2",
        f"INSERT INTO events SELECT 100, randomblob(16), type, package_id, actor, {REST}",
        f"INSERT INTO events SELECT NULL, randomblob(16), type, package_id, actor, {REST}",
        f"INSERT INTO events SELECT 15, 'text', type, package_id, actor, {REST}",
    ],
)
@pytest.mark.parametrize("recursive_triggers", [True, False])
def test_events_cannot_be_changed_not_even_by_a_foreign_connection(
    filled: Home, statement: str, *, recursive_triggers: bool
) -> None:
    with contextlib.closing(filled.connect()) as connection:
        connection.pragma("recursive_triggers", recursive_triggers)
        with filled.unchanged(), pytest.raises(apsw.ConstraintError):
            connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE artifact_packages SET name = 'forged'",
        "UPDATE artifact_files SET sha256 = zeroblob(32) WHERE sequence = 8",
        "DELETE FROM storage_locations WHERE sequence = 8",
        "INSERT INTO package_metadata VALUES ('forged', 'yes', 7)",
        "UPDATE retention_state SET expires_at = 1",
        "DELETE FROM idempotency_keys",
        "UPDATE retention_classes SET default_duration_seconds = 1",
    ],
)
def test_an_edited_view_is_noticed_and_repaired(home: Home, tree: Path, statement: str) -> None:
    with home.open() as store:
        store.push(tree, **SAID, metadata={"run": 7}, idempotency_key="key")
        sound = home.snapshot()
        home.tamper(statement)
        with home.unchanged():
            checked = store.replay(check=True)
        assert not checked.identical
        repaired = store.replay()
        assert repaired == checked
        assert home.snapshot().tables == sound.tables
        assert store.replay(check=True).identical


ABSURD = [
    "UPDATE artifact_packages SET created_at = 9223372036854775807",
    "UPDATE artifact_packages SET created_at = -9223372036854775808, finalized_at = 1",
    "UPDATE artifact_packages SET package_id = x'00'",
    "UPDATE artifact_packages SET package_id = zeroblob(100000)",
    "UPDATE artifact_packages SET metadata = x'ff'",
    "UPDATE artifact_packages SET metadata = x'8001'",
    "UPDATE artifact_packages SET manifest_blake3 = x'00', content_digest = x''",
    "UPDATE artifact_packages SET manifest_size = -1",
    "UPDATE artifact_packages SET manifest_size = 9223372036854775807",
    "UPDATE artifact_packages SET file_count = -1, total_size = -1",
    "UPDATE artifact_packages SET status = 'none', name = char(27) || '[2J'",
    "UPDATE artifact_files SET blake3 = x'', sha256 = x'00'",
    "UPDATE artifact_files SET size = -1, media_type = '', relative_path = '../' || relative_path",
    "UPDATE artifact_files SET package_sequence = 0",
    "UPDATE storage_locations SET size = -1, verified_at = 9223372036854775807",
    "UPDATE storage_locations SET backend_id = 'nowhere'",
    "UPDATE storage_locations SET state = 'failed', failure = NULL",
    "UPDATE retention_state SET expires_at = 9223372036854775807, retention_seconds = -1",
    "UPDATE retention_state SET expires_at = -9223372036854775808, eligible_at = 9223372036854775807",
    "UPDATE retention_holds SET hold_id = x'00', applied_at = -9223372036854775808",
    "DELETE FROM retention_state",
    "DELETE FROM artifact_packages",
    "INSERT INTO pending_deletions VALUES (x'00', 'local', -1)",
]
LOOKS = (
    *(
        ["list", "--all"],
        ["show", "{}"],
        ["show", "{}", "--json"],
        ["files", "{}"],
        ["cat", "{}", "README.md"],
    ),
    *(["manifest", "{}"], ["find", "0000"], ["events"], ["health"], ["fsck", "--read"]),
    *(["retention", "explain", "{}"], ["retention", "gc", "--dry-run"]),
)


@pytest.mark.parametrize("statement", ABSURD)
def test_a_view_that_says_absurd_things_gives_answers_or_errors_but_no_bug(
    home: Home, tree: Path, statement: str
) -> None:
    with home.open() as store:
        package = store.push(tree, **SAID, metadata={"run": 7}).package.package_id
        store.apply_hold(package, reason="lawsuit", actor="law")
    home.tamper(statement)
    places = ["--database", str(home.database), "--root", str(home.objects)]
    for command in LOOKS:
        answer = answer_of([*places, *(word.replace("{}", package) for word in command)])
        assert "internal error" not in answer.stderr, (command, answer.stderr)
        assert len(answer.stderr) < 10_000
    assert answer_of([*places, "fsck"]).stdout  # at least one finding
    assert answer_of([*places, "replay", "--check"]).code == 3
    assert answer_of([*places, "replay"]).code == 0
    assert answer_of([*places, "fsck", "--read"]).code == 0


def test_a_deleted_view_is_repaired_while_the_store_is_open(home: Home, store: Store, tree: Path) -> None:
    package = store.push(tree, **SAID).package
    home.tamper("DROP TABLE artifact_files")
    with refused(IntegrityError, "schema-changed"), home.open():
        pass
    with home.unchanged():
        checked = store.replay(check=True)
    assert checked.fingerprint_before == "unreadable"
    assert not checked.identical
    store.replay()
    assert [file.relative_path for file in store.list_files(package.package_id).items] == sorted(
        TREE, key=os.fsencode
    )


@pytest.mark.parametrize(
    "payload",
    ["x'ff'", "x''", "x'80'", "x'a0'", "x'a1616101'", "(SELECT payload FROM events WHERE sequence = 1)"],
)
def test_a_log_that_was_forged_is_damage_not_a_traceback(filled: Home, payload: str) -> None:
    forge(filled, f"payload = {payload}")
    with filled.open(create=False) as store, filled.unchanged():
        for check in (True, False):
            with pytest.raises(IntegrityError) as caught:
                store.replay(check=check)
            assert "event 8" in caught.value.message


@pytest.mark.parametrize(
    "edit",
    ["type = 'v9.unknown'", "type = 'v1.file.ingested', package_id = NULL", "package_id = zeroblob(16)"],
)
def test_an_event_that_cannot_be_applied_stops_the_replay(filled: Home, edit: str) -> None:
    forge(filled, edit)
    with filled.open(create=False) as store, filled.unchanged():
        for check in (True, False):
            with refused(IntegrityError, "integrity", "event 8"):
                store.replay(check=check)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"store_id": b"short", "format": 1},
        {"store_id": bytes(16)},
        {"store_id": bytes(16), "format": 2},
        {"store_id": "text", "format": 1},
        {"store_id": bytes(16), "format": {"a": [1]}},
    ],
    ids=str,
)
def test_a_log_whose_beginning_is_forged(home: Home, store: Store, payload: dict[str, Any]) -> None:
    store.close()
    forge(home, f"payload = x'{codec.encode(payload).hex()}'", sequence=1)
    with refused(IntegrityError, "integrity", "log"):
        home.open()


def test_a_store_whose_log_has_no_beginning(home: Home, store: Store) -> None:
    store.close()
    forge(home, "type = 'v1.package.created'", sequence=1)
    with refused(IntegrityError, "integrity", "event 1 is not the creation of a store"):
        home.open()


def test_a_payload_that_a_damaged_page_has_lost(home: Home, store: Store) -> None:
    store.close()
    schema = "UPDATE sqlite_schema SET sql = replace(sql, 'payload BLOB{}', 'payload BLOB{}')"
    home.tamper("PRAGMA writable_schema = ON", schema.format(" NOT NULL", ""))
    forge(home, "payload = NULL", sequence=1)
    home.tamper("PRAGMA writable_schema = ON", schema.format("", " NOT NULL"))
    with refused(IntegrityError, "integrity", "the payload of event 1 is no bytes"):
        home.open()


def test_damaged_pages_are_damage_not_a_traceback(filled: Home) -> None:
    filled.tamper("PRAGMA wal_checkpoint(TRUNCATE)")
    size = filled.database.stat().st_size
    # In another process: nobody but SQLite may open the file in this one.
    script = (
        "import sys\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    file.seek(4096)\n"
        "    file.write(b'\\xff' * (int(sys.argv[2]) - 4096))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(filled.database), str(size)], check=True)
    with pytest.raises(IntegrityError) as caught, filled.open(create=False) as store:
        store.replay(check=True)
    assert caught.value.code in {"database-damaged", "schema-changed"}


HOLD = """
import fcntl, os, sys
import apsw
path, how = sys.argv[1:]
if how == "flock":
    descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
else:
    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(home: Home, how: str) -> Iterator[None]:
    """Another process that holds the store for writing for as long as the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.database), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            process.communicate()


@pytest.mark.parametrize("how", ["flock", "sqlite"])
def test_another_writer_past_the_timeout(home: Home, tree: Path, how: str) -> None:
    with home.open(busy_timeout=0.05) as store:
        package = store.create_package(**SAID)
        store.ingest_file(package, "a", b"a", actor="ada")
        before = home.snapshot()
        with held(home, how):
            for call in (
                lambda: store.create_package(**SAID),
                lambda: store.finalize_package(package, actor="ada"),
                lambda: store.push(tree, **SAID),
                store.replay,
            ):
                with refused(BusyError, "busy", str(home.database)):
                    call()
            # Readers go on.
            assert store.get_package(package).file_count == 1
            assert store.health().status == "ok"
            assert store.replay(check=True).identical
        after = home.snapshot()
        # The bytes were made durable before the log was asked, so they may be there, but nobody names them.
        assert (after.tables, after.schema) == (before.tables, before.schema)
        assert home.staged() == []
        store.push(tree, **SAID)


def test_a_neighbour_that_drops_sqlites_locks_lets_no_other_writer_in(home: Home) -> None:
    """Closing any descriptor of the file drops SQLite's locks on it; the lock file stays locked."""
    write = (
        "import sys\n"
        "from artifactstore import BusyError, Store\n"
        "said = dict(name='n', producer='p', subject='s', retention_class='transient', actor='b')\n"
        "with Store.open(sys.argv[1], sys.argv[2], busy_timeout=0.2) as store:\n"
        "    try:\n"
        "        store.create_package(**said)\n"
        "    except BusyError:\n"
        "        print('busy')\n"
    )
    command = [sys.executable, "-c", write, str(home.database), str(home.objects)]
    with home.open() as store:
        store.create_package(**SAID)
        with store._transaction("ada") as transaction:
            transaction.record([events.class_defined("mine", 60)])
            with open(home.database, "rb") as neighbour:
                neighbour.read(100)
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert done.stdout == "busy\n", done.stderr
        assert [event.type for event in store.events()][-1] == "v1.retention.class_defined"
        assert store.fsck(read=True).clean


def test_another_writer_before_the_timeout(home: Home, tree: Path) -> None:
    with home.open() as store:
        descriptor = os.open(f"{home.database}.lock", os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        progress: list[object] = []

        def let_go(at: object) -> None:
            progress.append(at)
            fcntl.flock(descriptor, fcntl.LOCK_UN)

        assert store.push(tree, **SAID, on_progress=let_go).package.file_count == len(TREE)
        assert progress
        os.close(descriptor)


def test_a_database_that_may_not_be_written(filled: Home, tree: Path) -> None:
    package = next(iter(filled.open().list_packages().items))
    filled.database.chmod(0o400)
    with filled.unchanged(), unprivileged(), filled.open(create=False) as store:
        assert store.get_package(package.package_id) == package
        for call in (
            lambda: store.create_package(**SAID),
            lambda: store.ingest_file(package.package_id[:8], "a", b"", actor="ada"),
            store.replay,
        ):
            with pytest.raises(ArtifactStoreError):
                call()
        with refused(AccessError, "access-denied", str(filled.database)):
            store.create_package(**SAID)


def test_a_database_that_may_not_be_read(filled: Home, clock: FakeClock) -> None:
    filled.database.chmod(0)
    with unprivileged():
        with refused(AccessError, "access-denied", str(filled.database)):
            filled.open()
        assert_degraded(filled, clock, "check the path, its permissions")


def test_a_folder_that_may_not_be_entered(filled: Home, clock: FakeClock) -> None:
    filled.root.chmod(0)
    try:
        with unprivileged():
            with refused(AccessError, "access-denied", str(filled.database)):
                filled.open()
            assert_degraded(filled, clock, str(filled.database))
    finally:
        filled.root.chmod(0o700)


def test_a_folder_where_no_store_may_be_made(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with unprivileged(), refused(AccessError, "access-denied", str(tmp_path / "closed")):
        Home(tmp_path / "closed" / "home").open()
    assert list((tmp_path / "closed").iterdir()) == []
