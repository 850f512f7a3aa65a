"""The planted bugs, one row each, and the drills that must turn red.

To add one: say what is wrong, write the change as a diff, and name a drill. What a diff takes away or keeps
must stand in the module exactly once, at any indentation; a row whose lines have gone fails the suite. A bug
is planted well if nobody sees it without a fault: the calls of `crash.test_calls` still do what they should.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Mutant:
    """A planted bug.

    Args:
        name: what is wrong.
        drills: tests that must fail then, by their ids below `tests/`; the quickest first.
        diffs: how it is planted, by the module's path in the package. `-` takes a line away, `+` adds one, a
            space keeps it, `@@` goes on elsewhere.
    """

    name: str
    drills: tuple[str, ...]
    diffs: Mapping[str, str]


_DURABILITY = "objects/durability.py"
_BATCH = "objects/local_batch.py"
_INGEST = "ingest_calls.py"
_PACKAGES = "package_calls.py"
_DATABASE = "database.py"
_CONNECTION = "connection.py"
_GC = "lifecycle/gc.py"
_STAGING = "objects/staging.py"

_ACKNOWLEDGED = "crash/test_power_loss.py::test_an_acknowledgement_waits_for_all_that_it_says"
_KILLED = "crash/test_power_loss.py::test_what_a_killed_process_has_not_synced_is_made_durable_by_the_next"
_NAMED = "crash/test_power_loss.py::test_an_object_that_has_its_name_has_its_bytes"
_TURNING_POINTS = "crash/test_kill_points.py::test_killed_at_each_turning_point"
_SYNC_ERRORS = "crash/test_errors.py::test_an_error_of_each_sync_is_told"
_CHOSEN = "crash/test_interleavings.py::test_chosen_interleavings"
_TOKENS = "httpapi/test_access.py::test_every_token_is_compared_in_constant_time_whichever_is_the_right_one"

SYNCS: tuple[Mutant, ...] = (
    Mutant(
        "files are not synced",
        (f"{_ACKNOWLEDGED}[push-each]",),
        {
            _DURABILITY: """
 try:
-    _full_sync(descriptor)
+    directory and _full_sync(descriptor)
""",
        },
    ),
    Mutant(
        "folders of objects are not synced",
        (f"{_ACKNOWLEDGED}[push-each]",),
        {
            _BATCH: """
-side_by_side(lambda name: sync_path(name, folder=self._root_descriptor, directory=True), folders)
+del folders
""",
        },
    ),
    Mutant(
        "no barrier before objects get their names",
        (f"{_NAMED}[push-whole]",),
        {
            _BATCH: """
-self._file_system.barrier()
 self._rename(staged)
""",
        },
    ),
    Mutant(
        "no barrier after objects got their names",
        (f"{_ACKNOWLEDGED}[push-whole]",),
        {
            _BATCH: """
-if staged:
-    self._file_system.barrier()
""",
        },
    ),
    Mutant(
        "an object that was there is named without being synced",
        (f"{_KILLED}[objects of a push]",),
        {
            _STAGING: """
-self._present.add(blake3)
 return None
""",
        },
    ),
    Mutant(
        "the manifest is stored without a barrier",
        (f"{_ACKNOWLEDGED}[finalize-whole]",),
        {
            _PACKAGES: """
 staged, _ = stage(batch, encoder.chunks(file_queries.manifest_files(connection, sequence)))
-batch.publish()
+batch._rename(sorted(batch._staged.items()))
""",
        },
    ),
    Mutant(
        "SQLite runs with synchronous=NORMAL",
        (f"{_ACKNOWLEDGED}[create-whole]",),
        {
            _CONNECTION: """
-connection.pragma("synchronous", "FULL")
+connection.pragma("synchronous", "NORMAL")
""",
        },
    ),
    Mutant(
        "a new folder is not synced into the one above it",
        (f"{_KILLED}[folder of the store]",),
        {
            _DURABILITY: """
-    with contextlib.suppress(PermissionError):
-        sync_path(parent, directory=True)
+    pass
 else:
-    sync_path(parent, directory=True)
+    pass
""",
        },
    ),
)

ORDER: tuple[Mutant, ...] = (
    Mutant(
        "objects are written in place",
        (f"{_NAMED}[push-whole]",),
        {
            _STAGING: """
 with translated(self._root):
-    write_new(name, data, folder=self._folder, mode=_OBJECT_MODE)
+    key = object_key(digests.blake3)
+    try:
+        write_new(key, data, folder=self._root_descriptor, mode=_OBJECT_MODE)
+        os.link(key, name, src_dir_fd=self._root_descriptor, dst_dir_fd=self._folder)
+    except FileExistsError:
+        write_new(name, data, folder=self._folder, mode=_OBJECT_MODE)
""",
            _BATCH: """
-os.rename(name, key, src_dir_fd=self._folder, dst_dir_fd=self._root_descriptor)
+(self._keep or replace) and os.rename(name, key, src_dir_fd=self._folder, dst_dir_fd=self._root_descriptor)
""",
        },
    ),
    Mutant(
        "the event comes before the object",
        (f"{_TURNING_POINTS}[ingest new file]",),
        {
            _INGEST: """
-batch.publish()
 with self._transaction(actor, shares=True) as transaction:
     first = _admit(transaction.connection, sequence, [relative_path], idempotency)
     if first is None:
-        wanted = [(staged.digests.blake3, staged.size)]
-        missing = presence.gone(transaction.connection, backend, batch, since, wanted)
-        if missing and not batch.restore(missing):
-            raise BackendError(f"the bytes of {relative_path!r} are gone again", retryable=True)
         self._record_files(transaction, backend, sequence, [entry], 1, idempotency, batch.sent)
         first = file_queries.file_sequence(transaction.connection, sequence, relative_path)
-    return file_queries.file_of_event(transaction.connection, first)
+    found = file_queries.file_of_event(transaction.connection, first)
+batch.publish()
+return found
""",
        },
    ),
    Mutant(
        "the schema is made in two transactions",
        (f"{_TURNING_POINTS}[init]",),
        {
            _DATABASE: """
+connection.execute("COMMIT; BEGIN IMMEDIATE")
 connection.pragma("application_id", schema.APPLICATION_ID)
""",
        },
    ),
)

ERRORS: tuple[Mutant, ...] = (
    Mutant(
        "an error of a sync is ignored",
        (
            f"{_SYNC_ERRORS}[ingest new file]",
            f"{_SYNC_ERRORS}[push]",
        ),
        {
            _DURABILITY: """
 try:
     _full_sync(descriptor)
+except OSError:
+    pass
 finally:
@@
-if libc.syncfs(target) != 0:
+if libc.syncfs(target) > 0:
""",
        },
    ),
)

DELETION: tuple[Mutant, ...] = (
    Mutant(
        "gc chooses objects under the lock and removes them without it",
        (_CHOSEN,),
        {
            _GC: """
-    locked = {
-        (blake3, name): lock
-        for name, backend in backends.items()
-        for blake3, lock in _remove(
-            transaction.connection, backend, [row[0] for row in pending if row[1] == name]
-        ).items()
-    }
-    gone = [row for row in pending if (row[0], row[1]) not in locked]
-    if gone:
-        transaction.record(
-            events.object_deleted(blake3=blake3, size=size, backend_id=backend_id)
-            for blake3, backend_id, size in gone
-        )
+locked = {
+    (blake3, name): lock
+    for name, backend in backends.items()
+    for blake3, lock in _remove(
+        transaction.connection, backend, [row[0] for row in pending if row[1] == name]
+    ).items()
+}
+gone = [row for row in pending if (row[0], row[1]) not in locked]
+with new_transaction() as transaction:
+    transaction.record(
+        events.object_deleted(blake3=blake3, size=size, backend_id=backend_id)
+        for blake3, backend_id, size in gone
+    )
 last = pending[-1][:2]
""",
        },
    ),
    Mutant(
        "gc does not look again for holds when it deletes",
        (_CHOSEN,),
        {
            _GC: """
-collected = state is not None and retention.may_be_collected(state, now())
+collected = state is not None and state.collected_at is None
""",
        },
    ),
    Mutant(
        "an ingest does not look for its objects under the lock",
        (_CHOSEN,),
        {
            "presence.py": """
-missing = backend.missing(wanted)
+missing: list[bytes] = []
""",
        },
    ),
)

ACCESS: tuple[Mutant, ...] = (
    Mutant(
        "a token is compared with ==",
        (_TOKENS,),
        {
            "httpapi/access.py": """
-if hmac.compare_digest(known, digest):
+if known == digest:
""",
        },
    ),
)

UPLOADS: tuple[Mutant, ...] = (
    Mutant(
        "a lock on a file that was removed holds an upload",
        (_CHOSEN,),
        {
            "upload_files.py": """
-if os.fstat(descriptor).st_nlink:
-    yield descriptor
-    return
+yield descriptor
+return
""",
        },
    ),
    Mutant(
        "a sweep of uploads does not look again under the lock",
        (_CHOSEN,),
        {
            "uploads.py": """
-if self._is_over(upload_id, now):
-    self._files.remove(upload_id)
-    removed += 1
+self._files.remove(upload_id)
+removed += 1
""",
        },
    ),
)

MUTANTS = (*SYNCS, *ORDER, *ERRORS, *DELETION, *UPLOADS, *ACCESS)
