"""Small documents that would become large: what they cost is in proportion to what they are."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, refused

from artifactstore import InvalidInputError, codec
from artifactstore.cli.metadata import collected

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
