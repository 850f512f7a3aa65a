"""What a place may hold when everything is over and the clean-up by age has run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore.database import Database
from artifactstore.objects.local import MARKER
from artifactstore.rebuild import replay
from crash.calls import is_left_over

if TYPE_CHECKING:
    from pathlib import Path

    from crash.calls import ChangingCall, Place


def assert_tidy(place: Place, row: ChangingCall) -> None:
    """Let what a crash left be cleaned up, as if it were old; then nothing surplus may be there."""
    with place.open() as store:
        store.orphans(actor="cron", delete=True, older_than=-(10**9))
        findings = [f"{found.part}: {found.what}" for found in store.fsck(read=True).findings]
    assert [line for line in findings if not is_left_over(line, row) or "no location" in line] == []
    home = place.home
    database = home.database.name
    known = {database, f"{database}.lock", home.objects.name}
    backups = sorted(home.root.glob("*.backup.db"))
    found = {path.name for path in home.root.iterdir()} - {path.name for path in backups}
    assert found == known, found
    for backup in backups:
        assert_whole(backup)
    for root in (home.objects, place.second):
        assert {path.name for path in root.iterdir()} <= {MARKER, "blake3", "tmp", "damaged"}, root
        assert list(root.glob("tmp/*")) == []


def assert_whole(backup: Path) -> None:
    """A file that bears the name of a backup is one."""
    database = Database(str(backup))
    try:
        assert replay(database, check=True).event_count > 0
    finally:
        database.close()
