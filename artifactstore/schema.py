"""The tables: `events` is the truth, all others are views that replay rebuilds.

Views are keyed by the sequence of the event that made the row, which is short, stable and the same after
every replay. Ids are 16 bytes and digests 32 bytes; both have a text form outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifactstore.connection import Connection

APPLICATION_ID = 0x41525453  # "ARTS"
# Raised with every change of a view; an older store is rebuilt by `migrate`, a newer one is refused.
SCHEMA_VERSION = 4
DOTTED_KEY_MAX = 255  # characters; metadata below a longer key is kept, but cannot be filtered by

EVENT_STATEMENTS = (
    """
    CREATE TABLE events (
      sequence INTEGER PRIMARY KEY,
      event_id BLOB NOT NULL UNIQUE CHECK (length(event_id) = 16),
      type TEXT NOT NULL,
      package_id BLOB CHECK (length(package_id) = 16),
      actor TEXT NOT NULL,
      recorded_at INTEGER NOT NULL,
      payload BLOB NOT NULL,
      leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32)
    ) STRICT
    """,
    """
    CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
    BEGIN SELECT raise(ABORT, 'events are append-only'); END
    """,
    """
    CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
    BEGIN SELECT raise(ABORT, 'events are append-only'); END
    """,
    # Without this one, INSERT OR REPLACE would walk past the other two.
    """
    CREATE TRIGGER events_refuse_gap BEFORE INSERT ON events
    WHEN new.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM events)
    BEGIN SELECT raise(ABORT, 'a sequence must be the last one plus 1'); END
    """,
)

VIEW_STATEMENTS = (
    """
    CREATE TABLE artifact_packages (
      sequence INTEGER PRIMARY KEY,
      package_id BLOB NOT NULL UNIQUE,
      name TEXT NOT NULL,
      producer TEXT NOT NULL,
      subject TEXT NOT NULL,
      status TEXT NOT NULL,
      metadata BLOB NOT NULL,
      metadata_schema TEXT,
      created_at INTEGER NOT NULL,
      created_by TEXT NOT NULL,
      finalized_at INTEGER,
      finalized_by TEXT,
      manifest_blake3 BLOB,
      manifest_sha256 BLOB,
      manifest_size INTEGER,
      content_digest BLOB,
      file_count INTEGER NOT NULL,
      total_size INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE artifact_files (
      sequence INTEGER PRIMARY KEY,
      package_sequence INTEGER NOT NULL,
      relative_path TEXT NOT NULL,
      media_type TEXT NOT NULL,
      size INTEGER NOT NULL,
      blake3 BLOB NOT NULL,
      sha256 BLOB NOT NULL,
      executable INTEGER NOT NULL
    ) STRICT
    """,
    # One row for each use of an object in a backend; `sequence` is the event that needs the bytes: the
    # ingest of a file, or the finalize whose manifest it is.
    """
    CREATE TABLE storage_locations (
      blake3 BLOB NOT NULL,
      backend_id TEXT NOT NULL,
      sequence INTEGER NOT NULL,
      package_sequence INTEGER NOT NULL,
      size INTEGER NOT NULL,
      state TEXT NOT NULL,
      verified_at INTEGER,
      failure TEXT,
      PRIMARY KEY (blake3, backend_id, sequence)
    ) STRICT, WITHOUT ROWID
    """,
    # Kept during a replay too: without it each release of a much shared object would look at all its uses.
    """
    CREATE INDEX locations_live ON storage_locations (blake3, backend_id) WHERE state <> 'deleted'
    """,
    """
    CREATE TABLE retention_classes (
      retention_class TEXT PRIMARY KEY,
      default_duration_seconds INTEGER
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE retention_state (
      package_sequence INTEGER PRIMARY KEY,
      retention_class TEXT NOT NULL,
      retention_seconds INTEGER,
      expires_at INTEGER,
      hold_count INTEGER NOT NULL,
      eligible_at INTEGER,
      eligible_reason TEXT,
      eligible_by TEXT,
      collected_at INTEGER,
      collected_by TEXT,
      collected_plan BLOB
    ) STRICT
    """,
    """
    CREATE TABLE retention_holds (
      hold_id BLOB PRIMARY KEY,
      package_sequence INTEGER NOT NULL,
      reason TEXT NOT NULL,
      authority TEXT,
      case_id TEXT,
      applied_at INTEGER NOT NULL,
      applied_by TEXT NOT NULL,
      released_at INTEGER,
      released_by TEXT,
      release_reason TEXT
    ) STRICT, WITHOUT ROWID
    """,
    # The events that touched a package's retention, so that its history needs no scan of the log.
    """
    CREATE TABLE retention_history (
      package_sequence INTEGER NOT NULL,
      sequence INTEGER NOT NULL,
      PRIMARY KEY (package_sequence, sequence)
    ) STRICT, WITHOUT ROWID
    """,
    # Objects whose last location is released and whose bytes are still to be removed.
    """
    CREATE TABLE pending_deletions (
      blake3 BLOB NOT NULL,
      backend_id TEXT NOT NULL,
      size INTEGER NOT NULL,
      PRIMARY KEY (blake3, backend_id)
    ) STRICT, WITHOUT ROWID
    """,
    # Scalars of the metadata by their dotted key, so that a filter needs no scan. A long key is left out: it
    # would be written once for each scalar below it.
    """
    CREATE TABLE package_metadata (
      key TEXT NOT NULL,
      value TEXT NOT NULL,
      package_sequence INTEGER NOT NULL,
      PRIMARY KEY (key, value, package_sequence)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE metadata_schemas (
      slug TEXT NOT NULL,
      version INTEGER NOT NULL,
      sequence INTEGER NOT NULL,
      digest BLOB NOT NULL,
      body BLOB NOT NULL,
      registered_at INTEGER NOT NULL,
      registered_by TEXT NOT NULL,
      PRIMARY KEY (slug, version)
    ) STRICT, WITHOUT ROWID
    """,
    # The outbox: what others are to be told of packages.
    """
    CREATE TABLE linkages (
      link_id BLOB PRIMARY KEY,
      package_sequence INTEGER NOT NULL,
      sequence INTEGER NOT NULL,
      workstream_id TEXT,
      task_id TEXT,
      message BLOB NOT NULL,
      state TEXT NOT NULL,
      requested_at INTEGER NOT NULL,
      attempts INTEGER NOT NULL,
      retry_at INTEGER,
      failure TEXT,
      delivered_at INTEGER
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE idempotency_keys (
      idempotency_key TEXT PRIMARY KEY,
      request BLOB NOT NULL,
      sequence INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

# Made after the rows of a replay are in, which is faster than keeping them while rows come in any order.
INDEX_STATEMENTS = (
    "CREATE INDEX packages_by_producer ON artifact_packages (producer, sequence)",
    "CREATE INDEX packages_by_subject ON artifact_packages (subject, sequence)",
    "CREATE INDEX packages_by_name ON artifact_packages (name, sequence)",
    "CREATE INDEX packages_by_status ON artifact_packages (status, sequence)",
    "CREATE INDEX packages_by_creation ON artifact_packages (created_at, sequence)",
    "CREATE INDEX packages_by_content ON artifact_packages (content_digest) WHERE content_digest IS NOT NULL",
    "CREATE INDEX retention_by_class ON retention_state (retention_class, package_sequence)",
    """
    CREATE INDEX retention_due ON retention_state (expires_at)
    WHERE hold_count = 0 AND eligible_at IS NULL AND collected_at IS NULL
    """,
    """
    CREATE INDEX retention_eligible ON retention_state (package_sequence)
    WHERE eligible_at IS NOT NULL AND collected_at IS NULL
    """,
    "CREATE INDEX holds_by_package ON retention_holds (package_sequence, applied_at)",
    "CREATE INDEX locations_by_package ON storage_locations (package_sequence)",
    """
    CREATE INDEX locations_by_verification ON storage_locations (backend_id, verified_at, sequence)
    WHERE state <> 'deleted'
    """,
    "CREATE INDEX locations_failed ON storage_locations (backend_id, blake3) WHERE state = 'failed'",
    "CREATE INDEX linkages_by_package ON linkages (package_sequence)",
    "CREATE INDEX linkages_due ON linkages (retry_at) WHERE state = 'due'",
    "CREATE UNIQUE INDEX files_by_path ON artifact_files (package_sequence, relative_path)",
    "CREATE INDEX files_by_sha256 ON artifact_files (sha256)",
)

# The views in the order of the fingerprint, each with the key that orders its rows.
VIEW_KEYS = {
    "artifact_files": "sequence",
    "artifact_packages": "sequence",
    "idempotency_keys": "idempotency_key",
    "linkages": "link_id",
    "metadata_schemas": "slug, version",
    "package_metadata": "key, value, package_sequence",
    "pending_deletions": "blake3, backend_id",
    "retention_classes": "retention_class",
    "retention_history": "package_sequence, sequence",
    "retention_holds": "hold_id",
    "retention_state": "package_sequence",
    "storage_locations": "blake3, backend_id, sequence",
}


def statement_text(statement: str) -> str:
    """A statement as one line, the form in which two schemas are compared."""
    return " ".join(statement.split())


def _statements(connection: Connection) -> set[str]:
    rows = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {statement_text(row[0]) for row in rows}


def log_is_whole(connection: Connection) -> bool:
    """Whether the log has its table and the triggers that guard it."""
    return {statement_text(text) for text in EVENT_STATEMENTS} <= _statements(connection)


def views_are_whole(connection: Connection) -> bool:
    """Whether the tables, indexes and triggers are exactly those of a store: none missing, none surplus."""
    expected = (*EVENT_STATEMENTS, *VIEW_STATEMENTS, *INDEX_STATEMENTS)
    return {statement_text(text) for text in expected} == _statements(connection)


def add_indexes(connection: Connection) -> None:
    """Give the views of a scratch database the indexes of a store."""
    for statement in INDEX_STATEMENTS:
        connection.execute(statement_text(statement))
