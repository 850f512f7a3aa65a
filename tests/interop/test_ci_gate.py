"""The gate for releases: what opens it, and what it says when it stays closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lifecycle.harness import DAY, MICROSECONDS, flip
from store.harness import SAID, FakeClock, Home, refused, write_tree

from artifactstore import InvalidInputError, Store
from artifactstore.digest import object_key
from artifactstore.interop.ci_gate import GateResult, judge

if TYPE_CHECKING:
    from pathlib import Path

    from artifactstore import Package

KIND = "ci.tests.v1"
SUBJECT = SAID["subject"]


@pytest.fixture
def kinds(store: Store) -> Store:
    """A store that knows two kinds of evidence."""
    for slug in (KIND, "ci.scan.v1"):
        store.register_metadata_schema(slug, {"type": "object"}, actor="ada")
    return store


def push(store: Store, tree: Path, **further: Any) -> Package:
    """Store a package of a kind."""
    return store.push(tree, **{**SAID, "metadata_schema": KIND, **further}).package


def ask(store: Store, clock: FakeClock, *required: str, **further: Any) -> GateResult:
    """Ask the gate, at the moment at which the clock stands."""
    return judge(store, subject=SUBJECT, required=required or (KIND,), now=clock.now, **further)


def reasons(result: GateResult) -> str:
    """All that the gate says."""
    return "\n".join(reason for kind in result.kinds for reason in kind.reasons)


def test_evidence_opens_the_gate(kinds: Store, clock: FakeClock, home: Home, tree: Path) -> None:
    package = push(kinds, tree)
    with home.unchanged():
        result = ask(kinds, clock, newer_than=DAY)
    assert result.passed
    assert [(kind.slug, kind.package_id, kind.reasons) for kind in result.kinds] == [
        (KIND, package.package_id, ())
    ]


@pytest.mark.parametrize(
    "other", [{"subject": "other"}, {"metadata_schema": None}, {"metadata_schema": "ci.scan.v1"}]
)
def test_other_evidence_does_not(
    kinds: Store, clock: FakeClock, tree: Path, other: dict[str, str | None]
) -> None:
    push(kinds, tree, **other)
    result = ask(kinds, clock)
    assert not result.passed
    assert reasons(result) == "no such evidence"


def test_every_kind_is_needed(kinds: Store, clock: FakeClock, tree: Path) -> None:
    push(kinds, tree)
    result = ask(kinds, clock, KIND, "ci.scan.v1")
    assert not result.passed
    assert [kind.package_id is None for kind in result.kinds] == [False, True]
    push(kinds, tree, metadata_schema="ci.scan.v1")
    assert ask(kinds, clock, KIND, "ci.scan.v1").passed


def test_an_open_package_does_not_count(kinds: Store, clock: FakeClock, tree: Path) -> None:
    package = kinds.create_package(**SAID, metadata_schema=KIND)
    kinds.ingest_directory(package, tree, actor="ada")
    result = ask(kinds, clock)
    assert not result.passed
    assert reasons(result) == f"{package}: it is not finalized"
    kinds.finalize_package(package, actor="ada")
    assert ask(kinds, clock).passed


def test_old_evidence_does_not_count(kinds: Store, clock: FakeClock, tree: Path) -> None:
    package = push(kinds, tree)
    clock.now += 9 * DAY * MICROSECONDS
    result = ask(kinds, clock, newer_than=7 * DAY)
    assert not result.passed
    assert reasons(result) == f"{package.package_id}: it was finalized 9d ago"
    assert ask(kinds, clock).passed
    assert ask(kinds, clock, newer_than=10 * DAY).passed


def test_damaged_evidence_does_not_count_and_an_older_whole_package_does(
    kinds: Store, clock: FakeClock, home: Home, tree: Path, tmp_path: Path
) -> None:
    older = push(kinds, write_tree(tmp_path / "older", {"junit.xml": b"<testsuites/>"}))
    newer = push(kinds, tree)
    file = kinds.get_file(newer.package_id, "README.md")
    flip(home.objects / object_key(file.digest.value))
    result = ask(kinds, clock)
    assert result.passed
    (kind,) = result.kinds
    assert kind.package_id == older.package_id
    assert kind.reasons[0].startswith(f"{newer.package_id}: it is not intact: ")
    flip(home.objects / object_key(kinds.get_file(older.package_id, "junit.xml").digest.value))
    assert not ask(kinds, clock).passed


@pytest.mark.parametrize("lost", ["file", "manifest"])
def test_lost_evidence_does_not_count(
    kinds: Store, clock: FakeClock, home: Home, tree: Path, lost: str
) -> None:
    package = push(kinds, tree)
    digest = (
        kinds.get_file(package.package_id, "README.md").digest if lost == "file" else package.manifest_digest
    )
    assert digest is not None
    (home.objects / object_key(digest.value)).unlink()
    result = ask(kinds, clock)
    assert not result.passed
    assert "it is not intact" in reasons(result)


def test_collected_evidence_does_not_count(kinds: Store, clock: FakeClock, tree: Path) -> None:
    package = push(kinds, tree, retention_class="transient")
    clock.now += 3 * DAY * MICROSECONDS
    kinds.sweep(actor="cron")
    kinds.gc(actor="cron")
    assert reasons(ask(kinds, clock)) == f"{package.package_id}: its bytes are deleted"


def test_only_one_producer_counts_if_it_is_named(kinds: Store, clock: FakeClock, tree: Path) -> None:
    push(kinds, tree, producer="somebody")
    assert ask(kinds, clock, producer="somebody").passed
    assert not ask(kinds, clock, producer="ci").passed


def test_a_gate_that_requires_nothing_is_refused(kinds: Store, clock: FakeClock) -> None:
    with refused(InvalidInputError, "invalid-input", "requires nothing"):
        judge(kinds, subject=SUBJECT, required=(), now=clock.now)
