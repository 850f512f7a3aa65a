"""What a place may hold when everything is over and the clean-up by age has run."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from store.harness import START

from artifactstore.database import Database
from artifactstore.rebuild import replay
from artifactstore.uploads import Uploads
from crash.changing_call import is_left_over

if TYPE_CHECKING:
    from pathlib import Path

    from crash.changing_call import ChangingCall
    from crash.place import Place


def assert_tidy(place: Place, row: ChangingCall) -> None:
    """Let what a crash left be cleaned up, as if it were old; then nothing surplus may be there."""
    with place.open() as store:
        store.orphans(actor="cron", delete=True, older_than=-(10**9))
        # A day and more later.
        Uploads(str(place.uploads), store, lambda: 2 * START, uuid4).remove_expired()
        findings = [f"{found.part}: {found.what}" for found in store.fsck(read=True).findings]
    surplus = [line for line in findings if not is_left_over(line, row, acknowledged=True)]
    assert surplus + [line for line in findings if "no location" in line] == []
    home = place.home
    database = home.database.name
    known = {database, f"{database}.lock", f"{database}.seen", home.objects.name}
    if place.uploads.exists():
        assert list(place.uploads.iterdir()) == []
        known.add(place.uploads.name)
    backups = sorted(home.root.glob("*.backup.db"))
    found = {path.name for path in home.root.iterdir()} - {path.name for path in backups}
    assert known - {f"{database}.seen"} <= found <= known, found
    for backup in backups:
        assert_whole(backup)
    assert place.surplus() == []


def assert_whole(backup: Path) -> None:
    """A file that bears the name of a backup is one."""
    database = Database(str(backup))
    try:
        assert replay(database, check=True).event_count > 0
    finally:
        database.close()
