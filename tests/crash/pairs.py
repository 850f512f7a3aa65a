"""Pairs of calls that meet on one store, one row each: the drill of interleavings runs every row.

To add a pair: name two acts and what must be there before, and add one line to `PAIRS`. A call that is not
an act yet becomes one in `acts` with the call itself, how to see that it happened, and the refusals that may
be the right answer because of the other one. With their objects on S3 the same rows are drilled in
`s3.test_drills`; calls over HTTP are these calls, and the server's own way to die is drilled in
`httpapi.test_drills`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store.harness import SAID

from crash import acts
from crash import upload_acts as uploads
from crash.meeting import TREE, Pair, one_value

if TYPE_CHECKING:
    from artifactstore import Store
    from crash.place import Place


# What must be true of some pairs beyond what is true of all


def _one_package(_place: Place, store: Store, values: list[object]) -> None:
    assert len(store.list_packages(subject=SAID["subject"]).items) <= 2, "one key made two packages"
    assert len(set(values)) == 1


def _is_mended(place: Place, _store: Store, values: list[object]) -> None:
    if values:
        assert place.stored(TREE["shared"]) == TREE["shared"], "acknowledged, but the bytes are still damaged"


PAIRS: tuple[Pair, ...] = (
    Pair(acts.PUSH, acts.GC, acts.expired),
    Pair(acts.INGEST_FILE, acts.GC, acts.expired),
    Pair(acts.INGEST_DIRECTORY, acts.GC, acts.expired),
    Pair(acts.PUSH, acts.GC, acts.expired_in_both_backends),
    Pair(acts.PUSH, acts.ORPHANS, acts.orphaned),
    Pair(acts.INGEST_FILE, acts.ORPHANS, acts.orphaned),
    Pair(acts.READ, acts.GC, acts.expired),
    Pair(acts.EXPORT, acts.GC, acts.expired),
    Pair(acts.GC, acts.GC, acts.expired),
    Pair(acts.GC, acts.ORPHANS, acts.expired),
    Pair(acts.PUSH, acts.PUSH),
    Pair(acts.PUSH_ONE_KEY, acts.PUSH_ONE_KEY, then=_one_package),
    Pair(acts.INGEST_FILE, acts.INGEST_FILE),
    Pair(acts.INGEST_DIRECTORY, acts.PUSH),
    Pair(acts.FINALIZE, acts.ADD_FILE, acts.open_package),
    Pair(acts.FINALIZE, acts.ORPHANS, acts.open_package),
    Pair(acts.FINALIZE, acts.GC, acts.open_package_beside_expired),
    Pair(acts.TAKE_KNOWN, acts.GC, acts.package_beside_expired),
    Pair(acts.PUSH, acts.PUSH, acts.truncated, damaged=TREE["shared"], then=_is_mended),
    Pair(acts.INGEST_FILE, acts.PUSH, acts.damaged, damaged=TREE["shared"], then=_is_mended),
    Pair(acts.VERIFY, acts.GC, acts.expired),
    Pair(acts.VERIFY, acts.GC_THEN_PUSH, acts.expired),
    Pair(acts.VERIFY, acts.PUSH, acts.damaged, damaged=TREE["shared"]),
    Pair(acts.VERIFY, acts.PUSH, acts.truncated, damaged=TREE["shared"]),
    Pair(acts.VERIFY, acts.REPAIR, acts.damaged, damaged=TREE["shared"]),
    Pair(acts.REPAIR, acts.GC, acts.expired_and_damaged, damaged=TREE["gone"]),
    Pair(acts.REPAIR, acts.GC_THEN_PUSH, acts.expired_and_damaged, damaged=TREE["gone"]),
    Pair(acts.REPAIR, acts.PUSH, acts.damaged, damaged=TREE["shared"]),
    Pair(acts.REPAIR, acts.REPAIR, acts.damaged, damaged=TREE["shared"]),
    Pair(acts.SWEEP, acts.HOLD, acts.due),
    Pair(acts.SWEEP, acts.EXTEND, acts.due),
    Pair(acts.SWEEP, acts.SWEEP, acts.due),
    Pair(acts.SWEEP, acts.RELEASE, acts.held),
    Pair(acts.HOLD, acts.GC, acts.expired),
    Pair(acts.RELEASE, acts.GC_BESIDE_RELEASE, acts.held_after_the_sweep),
    Pair(acts.EXTEND, acts.GC, acts.expired),
    Pair(acts.REPLAY, acts.PUSH),
    Pair(acts.REPLAY, acts.GC, acts.expired),
    Pair(acts.REPLAY, acts.REPLAY),
    Pair(acts.BACKUP, acts.PUSH),
    Pair(acts.BACKUP, acts.GC, acts.expired),
    Pair(acts.REGISTER, acts.PUSH_BY_SCHEMA),
    Pair(acts.MIGRATE, acts.OLD_PUSH, acts.old_store),
    Pair(acts.MIGRATE, acts.OLD_REPLAY, acts.old_store),
    Pair(acts.MIGRATE, acts.OLD_BACKUP, acts.old_store),
    Pair(acts.MIGRATE, acts.OLD_GC, acts.old_store_with_expired),
    Pair(acts.MIGRATE, acts.MIGRATE, acts.old_store),
    Pair(acts.COPY, acts.GC, acts.expired),
    Pair(acts.COPY, acts.GC, acts.copied_for_another),
    Pair(acts.COPY, acts.GC_THEN_PUSH, acts.expired_in_both_backends),
    Pair(acts.COPY, acts.ORPHANS),
    Pair(acts.COPY, acts.PUSH),
    Pair(acts.COPY, acts.COPY),
    Pair(acts.ADOPT, acts.PUSH, acts.of_another),
    Pair(acts.ADOPT, acts.ADOPT, acts.of_another),
    Pair(acts.LINK, acts.LINK, acts.pushed, then=one_value),
    Pair(acts.DELIVERED, acts.NOT_DELIVERED, acts.linked),
    Pair(acts.DELIVERED, acts.DELIVERED, acts.linked),
    Pair(uploads.BEGIN, uploads.BEGIN_AND_SEND, uploads.package_for_an_upload),
    Pair(uploads.SEND, uploads.SEND, uploads.upload),
    Pair(
        uploads.SEND_BESIDE_FORGETTING,
        uploads.CANCEL_AND_BEGIN,
        uploads.empty_upload,
        then=uploads.sessions_are_whole,
    ),
    Pair(uploads.SEND_BESIDE_FORGETTING, uploads.RESTART, uploads.upload, then=uploads.sessions_are_whole),
    Pair(uploads.SEND, uploads.EXPIRE, uploads.upload_about_to_expire),
    Pair(uploads.SEND, uploads.COMPLETE, uploads.upload),
    Pair(uploads.COMPLETE, uploads.COMPLETE, uploads.whole_upload, then=one_value),
    Pair(uploads.COMPLETE, uploads.CANCEL, uploads.whole_upload),
    Pair(acts.INIT, acts.INIT, creates=True),
    Pair(acts.FIRST_PUSH, acts.FIRST_PUSH, creates=True),
)
ROWS = {pair.name: pair for pair in PAIRS}
