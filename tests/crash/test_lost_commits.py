"""Commits that were acknowledged and are gone: nothing goes on as if they had never been."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from store.harness import SAID, Home, refused

from artifactstore import IntegrityError
from artifactstore.database import Database
from artifactstore.rebuild import replay

if TYPE_CHECKING:
    from artifactstore import Store

WORKER = """
import os, sys
from pathlib import Path
from store.harness import SAID, Home
store = Home(Path(sys.argv[1])).open(create=False)
package = store.create_package(**SAID)
store.apply_hold(package, reason="case 7", actor="law")
os._exit(0)
"""
END = 6  # sequence of the last event of a new store


def add_and_die(home: Home) -> None:
    """Two calls in another process, which does not live to move them from the write-ahead log."""
    tests = os.pathsep.join(path for path in sys.path if path)
    subprocess.run(
        [sys.executable, "-c", WORKER, str(home.root)], check=True, env={**os.environ, "PYTHONPATH": tests}
    )


def findings(store: Store) -> list[str]:
    return [f"{finding.part}: {finding.what}" for finding in store.fsck(read=True).findings]


@pytest.fixture
def died(home: Home) -> Home:
    """A store with a live write-ahead log; nobody has it open."""
    home.open().close()
    add_and_die(home)
    return home


def test_a_write_ahead_log_that_is_whole_is_recovered(died: Home) -> None:
    with died.open() as store:
        assert findings(store) == []
        assert store.health().status == "ok"
        assert len(store.list_packages().items) == 1
        store.create_package(**SAID)
        assert findings(store) == []


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "a backup"])
def test_commits_that_are_gone_are_missed(died: Home, damage: str) -> None:
    path = died.root / "artifactstore.db-wal"
    data = bytearray(path.read_bytes())
    kept, last = 1, END + 2
    if damage == "gone":
        path.unlink()
        kept = 0
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "flipped":
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        backup = died.root / "backup.db"
        with contextlib.closing(Database(str(died.database))) as database:
            database.backup(str(backup))
        add_and_die(died)
        path.unlink()
        backup.rename(died.database)
        kept, last = 2, last + 2
    what = f"event {last} was acknowledged, but the log ends at event {END + kept}"
    with died.open() as store:
        assert findings(store) == [f"log: {what}"]
        health = store.health()
        assert (health.status, health.db.reasons) == ("degraded", (f"the log is not whole: {what}",))
        # What is left can be read, but nothing is put in the place of what is lost.
        assert len(store.list_packages().items) == (kept > 0)
        with refused(IntegrityError, "log-shortened", what):
            store.create_package(**SAID)
        database = Database(str(died.database))
        with contextlib.closing(database), refused(IntegrityError, "log-shortened", what):
            replay(database)
    # Who knows what is lost, and that it stays so, goes on.
    (died.root / "artifactstore.db.lock").unlink()
    with died.open() as store:
        assert findings(store) == []
        store.create_package(**SAID)
        assert store.health().status == "ok"


@pytest.mark.parametrize("left", [b"", b"half a li", b"0" * 103])
def test_half_a_note_says_nothing(died: Home, left: bytes) -> None:
    """What a power cut may leave of a note that was not synced."""
    (died.root / "artifactstore.db.lock").write_bytes(left)
    with died.open() as store:
        assert findings(store) == []
        store.create_package(**SAID)
    assert len((died.root / "artifactstore.db.lock").read_bytes()) == 103


def test_an_older_note_says_nothing(died: Home) -> None:
    """A power cut may bring an earlier one back."""
    note = (died.root / "artifactstore.db.lock").read_bytes()
    with died.open() as store:
        store.create_package(**SAID)
        (died.root / "artifactstore.db.lock").write_bytes(note)
        assert findings(store) == []
        store.create_package(**SAID)
