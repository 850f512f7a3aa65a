"""What a server says becomes a value of the library only if all of it is what it should be."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from store.harness import SAID

from artifactstore import Explanation, File, FileHit, Health, Hold, Package, RetentionState, Verification
from artifactstore.client import answers
from artifactstore.facts import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from artifactstore import Store

KINDS: dict[type[Any], Callable[[Store, str], object]] = {
    Package: lambda store, package: store.get_package(package),
    File: lambda store, package: store.get_file(package, "README.md"),
    FileHit: lambda store, package: store.find_object(str(store.get_file(package, "README.md").digest))[0],
    Hold: lambda store, package: store.explain_retention(package).holds[0],
    RetentionState: lambda store, package: store.explain_retention(package).state,
    Explanation: lambda store, package: store.explain_retention(package),
    Verification: lambda store, package: store.verification(package),
    Health: lambda store, _package: store.health(),
}
WRONG: list[Any] = [True, -1, 1.5, 1 << 63, "", "x", "\ud800", "../x", [], [1], {}, {"a": 1 << 70}, None]


@pytest.fixture
def package(store: Store, tree: Path) -> str:
    """A package with metadata and a hold."""
    found = store.push(tree, **SAID, metadata={"a": [1, {"b": None}]}).package.package_id
    store.apply_hold(found, reason="r", actor="ada")
    return found


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, metadata as a whole."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inner if isinstance(document, dict | list) else ():
        yield (*path, key)
        if key != "metadata" and isinstance(value, dict | list):
            yield from places(value, (*path, key))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_value_comes_back_as_it_was(store: Store, package: str, kind: type[Any]) -> None:
    value = KINDS[kind](store, package)
    document = json.loads(json.dumps(plain(value)))
    assert answers.value(kind, document) == value
    assert answers.value(kind, {**document, "news": "of a later version"}) == value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_value_that_lacks_something_is_none(store: Store, package: str, kind: type[Any]) -> None:
    document = json.loads(json.dumps(plain(KINDS[kind](store, package))))
    for path in places(document):
        broken = copy.deepcopy(document)
        holder = at(broken, path[:-1])
        if isinstance(holder, dict):
            del holder[path[-1]]
            with pytest.raises(answers.MalformedError):
                answers.value(kind, broken)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_value_with_something_wrong_is_none(store: Store, package: str, kind: type[Any]) -> None:
    """It is refused, or read as exactly what it says."""
    document = json.loads(json.dumps(plain(KINDS[kind](store, package))))
    refusals = 0
    for path in places(document):
        for wrong in WRONG:
            broken = copy.deepcopy(document)
            at(broken, path[:-1])[path[-1]] = wrong
            try:
                value = answers.value(kind, broken)
            except answers.MalformedError:
                refusals += 1
            else:
                assert json.loads(json.dumps(plain(value))) == broken
    assert refusals > len(WRONG)


@pytest.mark.parametrize(
    "document", [None, [], "x", {}, {"items": {}}, {"items": [{}]}, {"items": [], "next_cursor": 1}]
)
def test_a_page_that_is_none(document: object) -> None:
    with pytest.raises(answers.MalformedError):
        answers.page(File, document)


def events_answer(store: Store, **changes: object) -> bytes:
    items = [{**event._asdict(), **changes} for event in store.events()]
    return cbor2.dumps({"items": items, "next_cursor": "0"}, canonical=True)


def test_the_log_comes_back_as_it_is(store: Store, package: str) -> None:
    assert answers.events(events_answer(store), 0) == store.events()
    assert package


@pytest.mark.parametrize(
    "changes",
    [{"actor": "mallory"}, {"payload": {}}, {"payload": []}, {"sequence": 2}, {"leaf_hash": b"x" * 32},
     {"recorded_at": 1}, {"recorded_at": "now"}, {"package_id": "x"}, {"event_id": None}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_an_event_that_is_not_what_it_was_is_none(store: Store, changes: dict[str, object]) -> None:
    with pytest.raises(answers.MalformedError):
        answers.events(events_answer(store, **changes), 0)


def test_a_log_with_a_gap_is_none(store: Store) -> None:
    with pytest.raises(answers.MalformedError):
        answers.events(events_answer(store), 1)
    with pytest.raises(answers.MalformedError):
        answers.events(b"\xff", 0)
    with pytest.raises(answers.MalformedError):
        answers.events(cbor2.dumps({"items": 7}), 0)
