"""Small documents that would become large: what they cost is in proportion to what they are."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from format.auditor import load_verify
from format.manifest_cases import a_file, a_package, manifest_bytes
from store.harness import SAID, refused

from artifactstore import IntegrityError, InvalidInputError, codec, manifest
from artifactstore.cli.metadata import collected
from artifactstore.fields import LABEL_MAX, METADATA_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.harness import Home

    from artifactstore import Store

KEY = "k" * 100_000
WIDE: dict[str, Any] = {KEY: list(range(5_000))}  # each entry lies below the long key
DEEP: dict[str, Any] = {KEY: {str(number): number for number in range(5_000)}}


def peak(call: Callable[[], object]) -> int:
    """The bytes of Python's objects that a call needs at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("document", [WIDE, DEEP], ids=["wide", "deep"])
def test_a_long_key_is_not_repeated_for_what_lies_below_it(document: dict[str, Any]) -> None:
    data = codec.encode(document)
    for call in (
        lambda: codec.encode(document),
        lambda: codec.decode(data),
        lambda: codec.check_json_shaped(document, name="metadata"),
    ):
        assert peak(call) < 20 * len(data)


@pytest.mark.parametrize("document", [WIDE, DEEP], ids=["wide", "deep"])
def test_metadata_takes_the_space_of_metadata(home: Home, store: Store, document: dict[str, Any]) -> None:
    store.create_package(**SAID)
    log = home.root / "artifactstore.db-wal"
    before = log.stat().st_size
    package = store.create_package(**SAID, metadata=document)
    assert log.stat().st_size - before < 20 * len(codec.encode(document))
    assert store.get_package(package).metadata == document
    assert store.replay(check=True).identical


SMALL = manifest_bytes(a_package(), [a_file("a", b"")])
FILES = b"\xa6\x65files\x81"
EMPTY_LISTS = codec.array_head(2_000_000) + b"\x80" * 2_000_000
EMPTY_MAPS = codec.array_head(2_000_000) + b"\xa0" * 2_000_000


BOMBS = {
    "lists": EMPTY_LISTS,
    "maps": EMPTY_MAPS,
    "the files are lists": SMALL[: len(FILES) - 1] + EMPTY_LISTS,
    "the files are maps": SMALL[: len(FILES) - 1] + EMPTY_MAPS,
    "a size": SMALL.replace(b"\x64size\x00", b"\x64size" + EMPTY_LISTS, 1),
    "a media type": SMALL.replace(b"\x6amedia_type", b"\x6amedia_type" + EMPTY_LISTS, 1),
    "a path": SMALL.replace(b"relative_path", b"relative_path" + EMPTY_LISTS, 1),
    "totals": SMALL.replace(b"\x66totals", b"\x66totals" + EMPTY_MAPS, 1),
    "metadata": SMALL.replace(b"\x68metadata\xa0", b"\x68metadata\xa1\x61a" + EMPTY_LISTS, 1),
    "more files than there are": SMALL.replace(FILES, FILES[:-1] + b"\x9b" + b"\x7f" * 8, 1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_manifest_that_is_none_is_refused_before_it_is_taken_apart(bomb: str) -> None:
    data = BOMBS[bomb]
    verify = load_verify()
    assert data != SMALL

    def both() -> None:
        with pytest.raises(IntegrityError):
            manifest.decode(data)
        with pytest.raises(verify.ManifestError):
            verify.decode(data)

    assert peak(both) < 200_000  # bytes; as objects, what is in there has a hundred megabytes


def test_what_is_said_beside_the_files_may_be_as_large_as_it_can_be() -> None:
    widest = "\U0001f600" * LABEL_MAX
    metadata = {"a": "x" * (METADATA_MAX - 8)}
    assert len(codec.encode(metadata)) == METADATA_MAX
    labels = dict.fromkeys(("name", "producer", "subject", "retention_class", "metadata_schema"), widest)
    data = manifest_bytes(a_package(metadata=metadata, **labels), [a_file("a", b"")])
    assert load_verify().decode(data) == manifest.decode(data).to_json()


def test_what_is_too_deep_for_a_filter_is_said_so(store: Store, home: Home) -> None:
    package = store.create_package(**SAID, metadata={"k" * 255: "found", "k" * 256: "kept"})
    assert [found.package_id for found in store.list_packages(metadata={"k" * 255: "found"}).items] == [
        package
    ]
    with home.unchanged(), refused(InvalidInputError, "invalid-input", "cannot be filtered by 'kkk"):
        store.list_packages(metadata={"k" * 256: "kept"})


def test_a_double_among_many_keys_is_found_in_one_pass(tmp_path: Path) -> None:
    # Each key was compared with all others: hours for what is below the limit of size.
    keys = ",".join(f'"{number}":0' for number in range(400_000))
    (tmp_path / "metadata.json").write_text(f'{{{keys},"399999":1}}')
    with refused(InvalidInputError, "not-json-shaped", "the key '399999' comes twice"):
        collected(None, str(tmp_path / "metadata.json"))
