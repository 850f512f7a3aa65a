"""Packages, what goes into them and what is told of them: what is there before a call, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interop.runs import write_run
from store.harness import SAID, read_tree

from artifactstore import Digest, LinkageRequest, NotFoundError
from artifactstore.digest import digest_pair
from artifactstore.interop import ci, guide_board
from artifactstore.known_files import KnownFile
from crash.changing_call import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from artifactstore import Store
    from crash.place import Place

TOLD = LinkageRequest("WS-1", None, verdict="passed", counts={"total": 2})
UPLOADED = b"sent in parts\n" * 1000


# Packages and their files


def open_package(place: Place, store: Store) -> None:
    """An open package that has nothing yet."""
    place.note("package", store.create_package(**SAID))


def filled(place: Place, store: Store) -> None:
    """An open package that has all its files."""
    open_package(place, store)
    store.ingest_directory(place.noted("package"), place.tree, actor="ada")


def pushed(place: Place, store: Store) -> None:
    """A finalized package."""
    place.note("package", store.push(place.tree, **SAID).package.package_id)


def of_subject(store: Store, status: str = "finalized") -> int:
    """How many packages of the subject there are."""
    return len(store.list_packages(subject=SAID["subject"], status=status).items)


def files(place: Place, store: Store) -> list[str]:
    """The paths that the package has."""
    return [file.relative_path for file in store.list_files(place.noted("package")).items]


def status(place: Place, store: Store) -> str:
    """That of the package."""
    return store.get_package(place.noted("package")).status


def ingest(name: str, data: Callable[[], bytes]) -> Callable[[Place, Store], object]:
    """The call that puts a file into the package."""

    def call(place: Place, store: Store) -> object:
        return store.ingest_file(place.noted("package"), name, data(), actor="ada")

    return call


def known_file() -> KnownFile:
    """One whose bytes are there, in another package."""
    return KnownFile("known.log", Digest("blake3", digest_pair(KEPT["shared.log"]).blake3))


def push(place: Place, store: Store, **further: Any) -> object:
    """The same push each time."""
    return store.push(place.tree, **SAID, idempotency_key="push-1", **further)


def push_from_ci(place: Place, store: Store) -> object:
    """The push of a run of a pipeline."""
    run = ci.CiRun("generic", repository="team/shop", commit="c0ffee", run_id="17")
    return ci.push_from_ci(
        store,
        str(place.tree),
        run,
        name="nightly",
        producer="ci",
        retention_class="raw-evidence",
        actor="ci",
    )


def _exported(place: Place) -> Path:
    return place.second.parent / "exports" / "2026" / "nightly"


def export(place: Place, store: Store) -> object:
    """The export of the package that is always there."""
    return store.export_package(place.noted("kept"), _exported(place))


def is_exported(place: Place, store: Store) -> bool:
    """What bears the name of an export is a whole one."""
    if not _exported(place).exists():
        return False
    found = read_tree(_exported(place))
    assert found["ARTIFACTSTORE-AUDIT/manifest.cbor"] == store.get_manifest_bytes(place.noted("kept"))
    assert found.items() >= KEPT.items()
    return True


# Schemas, messages and runs


def register_schema(_place: Place, store: Store) -> object:
    """A schema that asks for a file."""
    schema: dict[str, Any] = {"type": "object", "x-required-files": [{"path": "*.html"}]}
    return store.register_metadata_schema("run.v1", schema, actor="ada")


def linked(place: Place, store: Store) -> None:
    """A package whose message waits to be delivered."""
    pushed(place, store)
    place.note("link", store.request_linkage(place.noted("package"), TOLD, actor="ada").link_id)


def with_run(place: Place, _store: Store) -> None:
    """A directory with a run of guide-board."""
    write_run(place.root / "run")


def ingest_run(place: Place, store: Store) -> object:
    """The ingest of that run."""
    return guide_board.ingest_run(store, place.root / "run", actor="ada", workstream_id="WS-1")


def is_run_ingested(_place: Place, store: Store) -> bool:
    """The run is a finalized package, and its message waits: both or neither."""
    packages = len(store.list_packages(producer="guide-board", status="finalized").items)
    messages = len(store.list_linkages(undelivered=True))
    assert packages == messages <= 1, f"{packages} packages of the run, {messages} messages about it"
    return packages == 1


# Uploads


def upload(place: Place, store: Store) -> None:
    """An upload session of an open package; nothing has been sent."""
    open_package(place, store)
    place.note("upload", store.uploads().create(place.noted("package"), "sent", owner="ci").upload_id)


def whole_upload(place: Place, store: Store) -> None:
    """The same; everything has been sent."""
    upload(place, store)
    send(place, store)


def begin_upload(place: Place, store: Store) -> object:
    """The same session each time."""
    return store.uploads().create(place.noted("package"), "sent", owner="ci", idempotency_key="u")


def has_begun_upload(place: Place, _store: Store) -> bool:
    """One session, whole; what a crash leaves of one has another name."""
    return len(list(place.uploads.glob("*.json"))) == 1


def send(place: Place, store: Store) -> object:
    """What a client does that does not know how far it is: it asks, and goes on from there."""
    uploads, upload_id = store.uploads(), place.noted("upload")
    offset = uploads.get(upload_id, owner="ci").offset
    half = len(UPLOADED) // 2
    halves = (UPLOADED[offset:half], UPLOADED[max(offset, half) :])
    return uploads.append(upload_id, halves, offset=offset, owner="ci")


def sent(place: Place, store: Store) -> int:
    """How many bytes of the session are acknowledged; the bytes themselves are those that were sent."""
    try:
        offset = store.uploads().get(place.noted("upload"), owner="ci").offset
    except NotFoundError:
        return -1
    part = place.uploads / f"{place.noted('upload')}.part"
    assert not offset or part.read_bytes()[:offset] == UPLOADED[:offset]
    return offset


def is_uploaded(place: Place, store: Store) -> bool:
    """The package has what was sent, as a file."""
    return files(place, store) == ["sent"] and store.read_file(place.noted("package"), "sent") == UPLOADED
