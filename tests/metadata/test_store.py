"""Schemas in a store: versions, what they demand of packages, at creation and at finalize."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, Home, refused, write_tree

from artifactstore import ConflictError, InvalidInputError, NotFoundError, StateError, Store, events

if TYPE_CHECKING:
    from pathlib import Path

SLUG = "run.v1"
COUNTS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["passed"],
    "properties": {"passed": {"type": "integer", "minimum": 0}},
}
REPORT = {
    **COUNTS,
    "x-required-files": [{"path": "report/*.html", "media_type": "text/*"}, {"path": "*.log", "minimum": 2}],
}
GOOD: dict[str, Any] = {"passed": 7}


def registrations(store: Store) -> int:
    return sum(event.type == events.SCHEMA_REGISTERED for event in store.events(limit=1000))


def test_a_key_returns_the_version_that_it_made(store: Store) -> None:
    first = store.register_metadata_schema(SLUG, COUNTS, actor="ada", idempotency_key="k")
    store.register_metadata_schema(SLUG, REPORT, actor="ada", idempotency_key="l")
    assert store.register_metadata_schema(SLUG, COUNTS, actor="ada", idempotency_key="k") == first
    for slug, schema in ((SLUG, REPORT), ("other", COUNTS)):
        with pytest.raises(ConflictError) as caught:
            store.register_metadata_schema(slug, schema, actor="ada", idempotency_key="k")
        assert caught.value.code == "idempotency-conflict"
    assert registrations(store) == 2


def test_a_schema_has_versions(store: Store) -> None:
    first = store.register_metadata_schema(SLUG, COUNTS, actor="ada")
    assert (first.slug, first.version, first.body, first.registered_by) == (SLUG, 1, COUNTS, "ada")
    assert store.register_metadata_schema(SLUG, dict(reversed(COUNTS.items())), actor="bob") == first
    second = store.register_metadata_schema(SLUG, REPORT, actor="bob")
    assert second.version == 2
    # What was the content before is new content again.
    third = store.register_metadata_schema(SLUG, COUNTS, actor="ada")
    assert (third.version, third.digest) == (3, first.digest)
    other = store.register_metadata_schema("other", {}, actor="ada")
    assert store.list_metadata_schemas() == (other, third)
    assert store.get_metadata_schema(SLUG) == third
    assert store.get_metadata_schema(SLUG, version=2) == second
    assert registrations(store) == 4
    assert store.replay().identical


def test_a_key_gives_its_first_result_whatever_the_schema_is_by_now(store: Store, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"a"})
    said = {**SAID, "metadata": GOOD, "metadata_schema": SLUG}
    store.register_metadata_schema(SLUG, COUNTS, actor="ada")
    created = store.create_package(**said, idempotency_key="create")
    pushed = store.push(tree, **said, idempotency_key="push").package
    stricter = {**COUNTS, "required": ["passed", "board"], "x-required-files": [{"path": "*.html"}]}
    store.register_metadata_schema(SLUG, stricter, actor="ada")
    assert store.create_package(**said, idempotency_key="create") == created
    again = store.push(tree, **said, idempotency_key="push")
    assert (again.package, again.unchanged) == (pushed, True)
    with refused(InvalidInputError, "metadata-invalid", "board"):
        store.push(tree, **said, idempotency_key="another")
    write_tree(tmp_path / "tree", {"b": b"b"})
    with refused(ConflictError, "idempotency-conflict", "'push'"):
        store.push(tree, **said, idempotency_key="push")


def test_what_is_not_registered(store: Store) -> None:
    with refused(NotFoundError, "schema-not-found", SLUG):
        store.get_metadata_schema(SLUG)
    store.register_metadata_schema(SLUG, COUNTS, actor="ada")
    with refused(NotFoundError, "schema-not-found", "version 2"):
        store.get_metadata_schema(SLUG, version=2)
    with refused(NotFoundError, "schema-not-found", "other"):
        store.create_package(**SAID, metadata_schema="other")


@pytest.mark.parametrize("slug", ["", "A", "a b", ".a", "a.", "a/b", "é", "a" * 129])
def test_what_is_no_slug(store: Store, home: Home, slug: str) -> None:
    with home.unchanged():
        with refused(InvalidInputError, "invalid-field", "slug"):
            store.register_metadata_schema(slug, COUNTS, actor="ada")
        with refused(InvalidInputError, "invalid-field", "slug"):
            store.create_package(**SAID, metadata_schema=slug)


def test_a_schema_that_is_refused_changes_nothing(store: Store, home: Home) -> None:
    with home.unchanged(), refused(InvalidInputError, "schema-refused", "outside"):
        store.register_metadata_schema(SLUG, {"$ref": "http://example.org/"}, actor="ada")
    with home.unchanged(), refused(InvalidInputError, "invalid-field", "actor"):
        store.register_metadata_schema(SLUG, COUNTS, actor="")


def test_one_registration_wins_when_many_start_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: store.register_metadata_schema(SLUG, COUNTS, actor="ada"), range(16)))
    assert {each.version for each in found} == {1}
    assert registrations(store) == 1


def test_metadata_is_held_against_the_schema_at_creation(store: Store, home: Home, tree: Path) -> None:
    store.register_metadata_schema(SLUG, COUNTS, actor="ada")
    for metadata in (None, {}, {"passed": -1}, {"passed": "7"}):
        with home.unchanged():
            with refused(
                InvalidInputError,
                "metadata-invalid",
                SLUG,
                "version 1",
                "/required" if not metadata else "/passed",
            ):
                store.create_package(**SAID, metadata=metadata, metadata_schema=SLUG)
            with refused(InvalidInputError, "metadata-invalid", SLUG):
                store.push(tree, **SAID, metadata=metadata, metadata_schema=SLUG)
    package = store.push(tree, **SAID, metadata=GOOD, metadata_schema=SLUG).package
    assert package.metadata_schema == SLUG
    assert store.get_manifest(package.package_id).package.metadata_schema == SLUG


def test_a_package_keeps_the_version_of_its_creation(store: Store) -> None:
    store.register_metadata_schema(SLUG, COUNTS, actor="ada")
    package = store.create_package(**SAID, metadata=GOOD, metadata_schema=SLUG)
    store.register_metadata_schema(SLUG, {**REPORT, "required": ["run"]}, actor="ada")
    store.ingest_file(package, "a.txt", b"a", actor="ada")
    store.finalize_package(package, actor="ada")
    with refused(InvalidInputError, "metadata-invalid", "version 2"):
        store.create_package(**SAID, metadata=GOOD, metadata_schema=SLUG)


def test_a_package_is_not_finalized_without_its_report(store: Store, home: Home) -> None:
    store.register_metadata_schema(SLUG, REPORT, actor="ada")
    package = store.create_package(**SAID, metadata=GOOD, metadata_schema=SLUG)
    store.ingest_file(package, "a.log", b"a", actor="ada")
    store.ingest_file(package, "report/data.json", b"{}", actor="ada")
    store.ingest_file(package, "report/deep/index.html", b"<p>", actor="ada")
    with (
        home.unchanged(),
        refused(StateError, "required-files-missing", "report/*.html", "text/*", "2 files", "(1 there)"),
    ):
        store.finalize_package(package, actor="ada")
    store.ingest_file(package, "b/b.log", b"b", actor="ada")
    store.ingest_file(package, "report/index.html", b"<p>", actor="ada")
    store.finalize_package(package, actor="ada")


def test_a_push_is_refused_without_its_report(store: Store, home: Home, tmp_path: Path) -> None:
    store.register_metadata_schema(SLUG, REPORT, actor="ada")
    evidence = write_tree(tmp_path / "run", {"a.log": b"a", "b.log": b"b", "report/index.htm": b"<p>"})
    said = {**SAID, "metadata": GOOD, "metadata_schema": SLUG}
    with home.unchanged(), refused(StateError, "required-files-missing", "report/*.html"):
        store.push(evidence, **said)
    write_tree(evidence, {"report/index.html": b"<p>"})
    assert store.push(evidence, **said).package.file_count == 4


def test_the_schema_is_part_of_an_idempotent_request(store: Store) -> None:
    store.register_metadata_schema(SLUG, COUNTS, actor="ada")
    said = {**SAID, "metadata": GOOD, "idempotency_key": "one"}
    package = store.create_package(**said, metadata_schema=SLUG)
    assert store.create_package(**said, metadata_schema=SLUG) == package
    with pytest.raises(Exception, match="other arguments"):
        store.create_package(**said)


def test_metadata_can_be_checked_before(store: Store, home: Home) -> None:
    store.register_metadata_schema(SLUG, COUNTS, actor="ada")
    store.register_metadata_schema(SLUG, {}, actor="ada")
    with home.unchanged():
        assert store.check_metadata(SLUG, GOOD) == store.check_metadata(SLUG, {}) == ()
        (found,) = store.check_metadata(SLUG, {"passed": 1.5}, version=1)
    assert (found.pointer, found.value, found.expected) == ("/passed", "1.5", '"integer"')
