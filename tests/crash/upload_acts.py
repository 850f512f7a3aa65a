"""Calls to one upload session that may meet, and what must be there before."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from artifactstore import NotFoundError
from crash.meeting import PERMANENT, Act

if TYPE_CHECKING:
    from artifactstore import Store
    from crash.place import Place

UPLOADED = b"sent in parts\n" * 50
OWNER = "ci"
_DAY = 86_400  # seconds for which a session waits
_BUSY = frozenset({"upload-busy"})
_GONE = frozenset({"no-such-upload"})


# What must be there before


def package_for_an_upload(place: Place, store: Store) -> None:
    """An open package."""
    place.note("package", store.create_package(**PERMANENT))


def empty_upload(place: Place, store: Store) -> None:
    """A session of which nothing has been sent."""
    package_for_an_upload(place, store)
    place.note("upload", _begin(place, store))


def upload(place: Place, store: Store) -> None:
    """A session of which the first half has been sent."""
    empty_upload(place, store)
    store.uploads().append(place.noted("upload"), [UPLOADED[: len(UPLOADED) // 2]], offset=0, owner=OWNER)


def upload_about_to_expire(place: Place, store: Store) -> None:
    """The same; it is over for the second process that opens the store from now on, not yet for the first."""
    upload(place, store)
    place.open(days=1 - 150 / _DAY).close()


def whole_upload(place: Place, store: Store) -> None:
    """A session of which everything has been sent."""
    upload(place, store)
    _send(store, place.noted("upload"))


# What the acts do


def _begin(place: Place, store: Store) -> str:
    return (
        store.uploads()
        .create(place.noted("package"), "sent", owner=OWNER, expected_size=len(UPLOADED), idempotency_key="u")
        .upload_id
    )


def _send(store: Store, upload_id: str) -> tuple[str, int]:
    """Send what is missing; the session, and the offset that is acknowledged."""
    uploads = store.uploads()
    offset = uploads.get(upload_id, owner=OWNER).offset
    return upload_id, uploads.append(upload_id, [UPLOADED[offset:]], offset=offset, owner=OWNER).offset


def _cancel_and_begin(place: Place, store: Store) -> object:
    with contextlib.suppress(NotFoundError):
        store.uploads().cancel(place.noted("upload"), owner=OWNER)
    return _begin(place, store)


def _complete(place: Place, store: Store) -> object:
    return store.uploads().complete(place.noted("upload"), owner=OWNER, actor="ci").file_id


def _is_begun(_place: Place, store: Store, upload_id: object) -> bool:
    return store.uploads().get(str(upload_id), owner=OWNER).upload_id == upload_id


def _is_sent(_place: Place, store: Store, value: object) -> bool:
    assert isinstance(value, tuple)
    upload_id, offset = value
    return store.uploads().get(upload_id, owner=OWNER).offset == offset


def _is_a_file(place: Place, store: Store, file_id: object) -> bool:
    files = store.list_files(place.noted("package")).items
    return [file.file_id for file in files] == [file_id] and (
        store.read_file(place.noted("package"), "sent") == UPLOADED
    )


BEGIN = Act("begin of an upload", _begin, _is_begun, _BUSY)
BEGIN_AND_SEND = Act("begin of an upload and append", lambda p, s: _send(s, _begin(p, s)), _is_sent, _BUSY)
CANCEL_AND_BEGIN = Act("cancel and begin anew", _cancel_and_begin, refused=_BUSY)
CANCEL = Act("cancel", lambda p, s: s.uploads().cancel(p.noted("upload"), owner=OWNER), refused=_BUSY | _GONE)
COMPLETE = Act("complete", _complete, _is_a_file, _BUSY | _GONE | {"upload-incomplete"})
EXPIRE = Act("expiry", lambda _p, s: s.uploads().remove_expired())
RESTART = Act(
    "restart", lambda p, s: s.uploads().restart(p.noted("upload"), owner=OWNER).offset, refused=_BUSY
)
SEND = Act(
    "append",
    lambda p, s: _send(s, p.noted("upload")),
    _is_sent,
    _BUSY | _GONE | {"upload-complete", "wrong-offset"},
)
# What it has sent may be forgotten on purpose.
SEND_BESIDE_FORGETTING = Act("append", SEND.call, refused=SEND.refused)


def sessions_are_whole(place: Place, store: Store, _values: list[object]) -> None:
    """A session has the bytes that it says."""
    for state in place.uploads.glob("*.json"):
        session = store.uploads().get(state.stem, owner=OWNER)
        part = state.with_suffix(".part")
        if session.file_id is None and session.offset:
            assert part.read_bytes()[: session.offset] == UPLOADED[: session.offset], "bytes are gone"
