"""Arguments that are none: labels, metadata, media types, classes, limits, cursors, filters, sources."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, metadata_of_depth, refused

from artifactstore import (
    Digest,
    InvalidInputError,
    NotFoundError,
    RetentionPolicy,
    Selection,
    StateError,
    Store,
    check_directory,
)
from artifactstore.moment import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.doors import Door
    from store.harness import FakeClock, Home

MIB = 1 << 20
LABELS = [
    ("", "it is empty", "''"),
    ("   ", "it is empty", "'   '"),
    (" a", "it begins or ends with a blank", "' a'"),
    ("a\u00a0", "it begins or ends with a blank", r"'a\xa0'"),
    ("x" * 256, "it has 256 characters, 255 are allowed", "'xxxx"),
    ("a\nb", "it holds a control character", r"'a\nb'"),
    ("a\x00b", "it holds a control character", r"'a\x00b'"),
    ("a\x1b[2J", "it holds a control character", r"'a\x1b[2J'"),
    ("a\u202eb", "it holds a control character", r"'a\u202eb'"),
    ("a\ud800", "it holds a control character", r"'a\ud800'"),
]
NOT_JSON = [
    ({"a": math.nan}, "metadata/a: nan is not a JSON number"),
    ({"a": [1, math.inf]}, "metadata/a/1: inf is not a JSON number"),
    ({"a": {"b": -math.inf}}, "metadata/a/b: -inf is not a JSON number"),
    ({"a": b"bytes"}, "metadata/a: bytes are not a JSON value"),
    ({"a": [[b""]]}, "metadata/a/0/0: bytes are not a JSON value"),
    ({"a": bytearray(b"x")}, "metadata/a: a bytearray is not a JSON value"),
    ({1: "a"}, "metadata: the key 1 is not text"),
    ({"a": {None: 1}}, "metadata/a: the key None is not text"),
    ({b"a": 1}, "metadata: the key b'a' is not text"),
    ({"a": 2**63}, "metadata/a: the integer 9223372036854775808 does not fit into 64 bits"),
    ({"a": -(2**63) - 1}, "metadata/a: the integer -9223372036854775809 does not fit into 64 bits"),
    ({"a": 10**5000}, "metadata/a: the integer"),
    ({"a": "\ud800"}, r"metadata/a: '\ud800' is not valid Unicode text"),
    ({"\udfff": 1}, r"metadata: '\udfff' is not valid Unicode text"),
    ({"a": {1, 2}}, "metadata/a: a set is not a JSON value"),
    ({"a": object()}, "metadata/a: a object is not a JSON value"),
    ({"a": 1j}, "metadata/a: a complex is not a JSON value"),
    (metadata_of_depth(65), "nested deeper than 64 levels"),
    ({"a\nb": math.nan}, r"metadata/a\nb: nan is not a JSON number"),
    (["a"], "metadata must be a mapping, not list"),
    ("text", "metadata must be a mapping, not str"),
    (7, "metadata must be a mapping, not int"),
]


@pytest.mark.parametrize("field", ["name", "producer", "subject", "retention_class", "actor"])
@pytest.mark.parametrize(("value", "rule", "shown"), LABELS)
def test_a_label_is_one_line_that_people_can_read(
    store: Store, home: Home, tree: Path, field: str, value: str, rule: str, shown: str
) -> None:
    said = {**SAID, field: value}
    called = field.replace("_", " ")
    with home.unchanged():
        with refused(InvalidInputError, "invalid-field", called, rule, shown):
            store.create_package(**said)
        with refused(InvalidInputError, "invalid-field", called, rule, shown):
            store.push(tree, **said)


@pytest.mark.parametrize("value", [None, 7, b"name", ["name"]])
def test_a_label_is_text(store: Store, home: Home, value: object) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input", "name", type(value).__name__):
        store.create_package(**{**SAID, "name": value})


@pytest.mark.parametrize(
    "value", ["a", "x" * 255, "two words", "\u00fc\u2713\U0001f600", "a/b:c@d", "'; DROP TABLE events"]
)
def test_every_other_label_is_kept(python_door: Door, value: str) -> None:
    package = python_door.get_package(
        python_door.create_package(**{**SAID, "name": value, "producer": value, "subject": value})
    )
    assert (package.name, package.producer, package.subject) == (value, value, value)
    assert python_door.list_packages(name=value, producer=value, subject=value).items == (package,)


def test_every_call_that_changes_something_checks_its_actor(store: Store, home: Home, tree: Path) -> None:
    package = store.create_package(**SAID)
    store.ingest_file(package, "a", b"a", actor="ada")
    with home.unchanged():
        with refused(InvalidInputError, "invalid-field", "actor"):
            store.ingest_file(package, "b", b"b", actor="")
        with refused(InvalidInputError, "invalid-field", "actor"):
            store.ingest_directory(package, tree, actor="")
        with refused(InvalidInputError, "invalid-field", "actor"):
            store.finalize_package(package, actor="")


@pytest.mark.parametrize(("metadata", "rule"), NOT_JSON)
def test_metadata_is_what_json_can_say(
    store: Store, home: Home, tree: Path, metadata: Any, rule: str
) -> None:
    with home.unchanged():
        with refused(InvalidInputError, "not-json-shaped", rule):
            store.create_package(**SAID, metadata=metadata)
        with refused(InvalidInputError, "not-json-shaped", rule):
            store.push(tree, **SAID, metadata=metadata)


def test_metadata_that_holds_itself_is_refused(store: Store, home: Home) -> None:
    metadata: dict[str, Any] = {}
    metadata["again"] = metadata
    with home.unchanged(), refused(InvalidInputError, "not-json-shaped", "nested deeper than 64 levels"):
        store.create_package(**SAID, metadata=metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"": ""},
        {"a": 2**63 - 1, "b": -(2**63), "c": 0.1, "d": 1e308, "e": 5e-324, "f": 1.0, "g": None, "h": False},
        {"a": [], "b": {}, "c": [[{}], {"d": []}], "e": "\u0000\n\u202e"},
        metadata_of_depth(64),
        {"k" * 1000: "v" * 10_000},
        {"a.b": 1, "a": {"b": 2}},
    ],
)
def test_all_that_json_can_say_is_kept(door: Door, metadata: dict[str, Any]) -> None:
    package = door.get_package(door.create_package(**SAID, metadata=metadata))
    assert package.metadata == metadata
    assert door.replay(check=True).identical


def test_values_of_other_libraries_become_plain_ones(store: Store) -> None:
    class Score(float):
        def __repr__(self) -> str:
            return f"Score({float(self)})"

    class Run(int):
        def __repr__(self) -> str:
            return f"<Run {int(self)}>"

    class Name(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "no"

    metadata: dict[str, Any] = {"score": Score(0.5), "run": Run(7), "name": Name("yes"), "list": (1, (2,))}
    package = store.get_package(store.create_package(**SAID, metadata=metadata))
    assert package.metadata == {"score": 0.5, "run": 7, "name": "yes", "list": [1, [2]]}
    assert store.list_packages(metadata={"score": "0.5", "run": "7", "name": "yes", "list": "2"}).items == (
        package,
    )
    assert store.replay(check=True).identical


def test_metadata_above_one_mib_is_refused(store: Store, home: Home, tree: Path) -> None:
    around = len(b"\xa1\x61a\x7a....")  # map, key, head of a long text
    fits = {"a": "x" * (MIB - around)}
    package = store.create_package(**SAID, metadata=fits)
    assert store.get_package(package).metadata == fits
    over = {"a": "x" * (MIB - around + 1)}
    with home.unchanged():
        with refused(InvalidInputError, "metadata-too-large", f"{MIB + 1} bytes", f"{MIB} are allowed"):
            store.create_package(**SAID, metadata=over)
        with refused(InvalidInputError, "metadata-too-large", f"{MIB + 1} bytes"):
            store.push(tree, **SAID, metadata=over)


def test_an_unknown_retention_class_is_refused_with_the_known_ones(
    door: Door, home: Home, tree: Path
) -> None:
    said = {**SAID, "retention_class": "for-ever"}
    with home.unchanged():
        with refused(InvalidInputError, "unknown-retention-class", "for-ever"):
            door.create_package(**said)
        with refused(InvalidInputError, "unknown-retention-class", "for-ever"):
            door.push(tree, **said)


def test_the_hint_names_the_known_classes(store: Store) -> None:
    with pytest.raises(InvalidInputError) as caught:
        store.create_package(**{**SAID, "retention_class": "for-ever"})
    assert "permanent-record" in str(caught.value.hint)


@pytest.mark.parametrize(
    "media_type",
    [
        *("", "text", "text/", "/plain", "text/plain;", "text/plain; x", 'text/plain; a="b', "a b/c"),
        *("text/plain\n", "text/plain\r\nX: y", "text/pl\u00e4in", "x" * 200 + "/" + "y" * 60),
    ],
)
def test_a_media_type_that_is_none(python_door: Door, home: Home, media_type: str) -> None:
    package = python_door.create_package(**SAID)
    with home.unchanged(), refused(InvalidInputError, "invalid-input", repr(media_type[:80])):
        python_door.ingest_file(package, "a", b"a", actor="ada", media_type=media_type)


def test_an_unknown_package_is_not_found_by_any_call(
    door: Door, home: Home, tree: Path, tmp_path: Path
) -> None:
    door.create_package(**SAID)
    unknown = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    with home.unchanged():
        for call in (
            lambda: door.get_package(unknown),
            lambda: door.ingest_file(unknown, "a", b"a", actor="ada"),
            lambda: door.ingest_directory(unknown, tree, actor="ada"),
            lambda: door.finalize_package(unknown, actor="ada"),
            lambda: door.list_files(unknown),
            lambda: door.read_file(unknown, "a"),
            lambda: door.get_manifest_bytes(unknown),
            lambda: door.export_package(unknown, tmp_path / "out"),
        ):
            with refused(NotFoundError, "not-found", unknown):
                call()
    assert not (tmp_path / "out").exists()


def test_a_finalized_package_takes_nothing_more(door: Door, home: Home, tree: Path) -> None:
    package = door.push(tree, **SAID).package.package_id
    with home.unchanged():
        for call in (
            lambda: door.ingest_file(package, "new", b"new bytes", actor="ada"),
            lambda: door.ingest_file(package, "new", b"new bytes", actor="ada", idempotency_key="key"),
            lambda: door.ingest_directory(package, tree, actor="ada"),
            lambda: door.finalize_package(package, actor="ada"),
        ):
            with refused(StateError, "package-finalized", package):
                call()


def test_an_empty_package_cannot_be_finalized(door: Door, home: Home) -> None:
    package = door.create_package(**SAID)
    with home.unchanged(), refused(StateError, "empty-package", package):
        door.finalize_package(package, actor="ada")
    assert door.get_package(package).status == "open"


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_that_is_none(python_door: Door, home: Home, limit: int) -> None:
    package = python_door.create_package(**SAID)
    with home.unchanged():
        for call in (
            lambda: python_door.list_packages(limit=limit),
            lambda: python_door.list_files(package, limit=limit),
            lambda: python_door.events(limit=limit),
        ):
            with refused(InvalidInputError, "invalid-input", str(limit)):
                call()


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "9" * 19, "\u0661", "1 OR 1=1"])
def test_a_cursor_that_is_none(store: Store, cursor: str) -> None:
    with refused(InvalidInputError, "bad-cursor", repr(cursor)):
        store.list_packages(cursor=cursor)


@pytest.mark.parametrize("cursor", ["x", "/w==", "gICA", "\u00fc", "a b", "YQ"])
def test_a_cursor_of_files_that_is_none(store: Store, cursor: str) -> None:
    package = store.create_package(**SAID)
    with refused(InvalidInputError, "bad-cursor", repr(cursor)):
        store.list_files(package, cursor=cursor)


def test_a_cursor_behind_the_end_gives_an_empty_page(store: Store) -> None:
    package = store.create_package(**SAID)
    assert store.list_packages(cursor="1").items == ()
    assert store.list_files(package, cursor="eno=").items == ()


def test_an_unknown_status_is_refused(python_door: Door) -> None:
    with refused(InvalidInputError, "invalid-input", "'gone'"):
        python_door.list_packages(status="gone")


@pytest.mark.parametrize("field", ["producer", "subject", "name", "retention_class"])
def test_filters_are_values_never_sql(store: Store, field: str) -> None:
    store.create_package(**SAID)
    for text in ("' OR '1'='1", "%", "_", "x" * 100_000, "\x00"):
        wanted: dict[str, Any] = {field: text}
        assert store.list_packages(**wanted).items == ()


@pytest.mark.parametrize(
    "wanted",
    [
        {"producer": "\ud800"},
        {"name": "\udcff"},
        {"metadata": {"\ud800": "x"}},
        {"metadata": {"x": "\ud800"}},
        {"created_after": 2**63},
        {"created_before": -(2**63) - 1},
        {"metadata": {f"key{number}": "x" for number in range(100)}},
    ],
)
def test_a_filter_that_cannot_be_asked(store: Store, home: Home, wanted: dict[str, Any]) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input"):
        store.list_packages(**wanted)


@pytest.mark.parametrize("after", [2**63, -(2**63) - 1])
def test_a_place_in_the_log_that_cannot_be(store: Store, after: int) -> None:
    with refused(InvalidInputError, "invalid-input", str(after)):
        store.events(after=after)


@pytest.mark.parametrize("now", [-1, 2**63, 300_000_000_000_000_000])
def test_a_clock_that_cannot_be_right(
    store: Store, home: Home, clock: FakeClock, tree: Path, now: int
) -> None:
    package = store.create_package(**SAID)
    store.ingest_file(package, "a", b"a", actor="ada")
    clock.now = now - 1000
    with home.unchanged():
        for call in (
            lambda: store.create_package(**SAID),
            lambda: store.push(tree, **SAID),
            lambda: store.ingest_file(package, "b", b"a", actor="ada"),
        ):
            with refused(StateError, "clock-out-of-range", str(now)[:4]):
                call()
            clock.now = now - 1000


HUGE = [10**30, -(10**30), 10**5000]


@pytest.mark.parametrize("number", HUGE, ids=["large", "negative", "longer than Python writes"])
@pytest.mark.parametrize(
    "call",
    [
        lambda store, number: store.list_packages(limit=number),
        lambda store, number: store.list_packages(created_after=number),
        lambda store, number: store.list_packages(created_before=number),
        lambda store, number: store.events(after=number),
        lambda store, number: store.events(limit=number),
        lambda store, number: store.sweep(actor="ada", abandoned_after=number),
        lambda store, number: store.orphans(actor="ada", older_than=number),
        lambda store, number: store.verify(actor="ada", older_than=number),
        lambda store, number: store.verify(actor="ada", sample=number),
        lambda store, number: store.verify(actor="ada", max_bytes=-abs(number)),
        lambda store, number: store.verify(actor="ada", max_seconds=-abs(number)),
    ],
    ids=[
        *("page", "after", "before", "place in the log", "events", "abandoned", "orphans", "verified"),
        *("sample", "bytes", "seconds"),
    ],
)
def test_a_number_that_cannot_be_meant(
    store: Store, home: Home, call: Callable[[Store, int], object], number: int
) -> None:
    store.create_package(**SAID)
    with home.unchanged(), pytest.raises(InvalidInputError) as caught:
        call(store, number)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "budget",
    [{"max_seconds": math.nan}, {"sample": math.nan}, {"sample": math.inf}, {"shard": (1, math.nan)}],
)
def test_a_budget_that_is_no_number(store: Store, home: Home, budget: dict[str, object]) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input"):
        store.verify(actor="ada", **budget)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda store, text: store.get_package(text), "-" * 1_000_000 + "abcd"),
        (lambda store, text: store.get_package(text), "x" * 1_000_000),
        (lambda store, text: store.find_object(text), "x" * 1_000_000),
        (lambda store, text: store.find_object(text), "a" * 1_000_000),
        (lambda _store, text: Digest.parse(text), "x" * 1_000_000),
        (lambda _store, text: Digest.parse(text), "x" * 1_000_000 + ":" + "a" * 64),
        (lambda _store, text: parse_moment(text), "x" * 1_000_000),
        (lambda _store, text: parse_moment(text), "0001-01-01T00:00:00+00:01"),
        (lambda _store, text: parse_moment(text), "9999-12-31T23:59:59-00:01"),
        (lambda store, text: store.list_packages(cursor=text), "9" * 1_000_000),
        (lambda store, text: store.list_packages(status=text), "x" * 1_000_000),
        (lambda store, text: store.push(text, **SAID), "x" * 1_000_000),
        (lambda store, text: store.verify(actor="ada", backend=text), "x" * 1_000_000),
        (lambda store, text: store.release_hold("abcd", text, reason="x", actor="ada"), "x" * 1_000_000),
    ],
)
def test_what_is_wrong_with_an_argument_is_told_in_one_line(
    store: Store, home: Home, ask: Callable[[Store, str], object], text: str
) -> None:
    store.create_package(**SAID)
    with home.unchanged(), pytest.raises(InvalidInputError) as caught:
        ask(store, text)
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["a\x00b", "a\ud800b"])
def test_what_no_file_system_can_be_asked_for_is_no_path(
    store: Store, home: Home, tree: Path, tmp_path: Path, name: str
) -> None:
    package = store.push(tree, **SAID).package.package_id
    path = f"{tmp_path}/{name}"
    manifest = store.get_manifest_bytes(package)
    with home.unchanged():
        for call in (
            lambda: Store.open(path, tmp_path / "objects"),
            lambda: Store.open(tmp_path / "new.db", path),
            lambda: Store.open(tmp_path / "new.db", tmp_path / "objects", further={"second": path}),
            lambda: store.export_package(package, path),
            lambda: store.push(path, **SAID),
            lambda: store.ingest_file(package, "a", path, actor="ada"),
            lambda: store.repair(actor="ada", directory=path),
            lambda: check_directory(manifest, path),
            lambda: check_directory(path, tree),
        ):
            with pytest.raises((InvalidInputError, StateError)):
                call()


@pytest.mark.parametrize("value", [1.5, 86_400.0, math.nan, True, "90d", b"1"])
@pytest.mark.parametrize(
    "call",
    [
        lambda store, package, value: store.extend_retention(package, actor="ada", until=value),
        lambda store, package, value: store.extend_retention(package, actor="ada", by=value),
        lambda store, _package, value: store.sweep(actor="ada", abandoned_after=value),
        lambda store, _package, value: store.orphans(actor="ada", older_than=value),
        lambda store, _package, value: store.verify(actor="ada", older_than=value),
        lambda store, _package, value: store.verify(actor="ada", max_bytes=value),
        lambda _store, _package, value: RetentionPolicy({"transient": value}),
        lambda store, _package, value: store.list_packages(limit=value),
        lambda store, _package, value: store.list_packages(created_after=value),
        lambda store, _package, value: store.events(after=value),
    ],
    ids=[
        *("until", "by", "abandoned", "orphans", "verified", "bytes", "policy"),
        *("page", "created", "place in the log"),
    ],
)
def test_seconds_bytes_and_instants_are_whole_numbers(
    store: Store, home: Home, tree: Path, call: Callable[[Store, str, object], object], value: object
) -> None:
    package = store.push(tree, **SAID).package.package_id
    with home.unchanged(), refused(InvalidInputError, "invalid-input"):
        call(store, package, value)


@pytest.mark.parametrize("budget", [{"sample": True}, {"sample": "5%"}, {"max_seconds": "1h"}])
def test_a_share_and_a_time_are_numbers(store: Store, home: Home, budget: dict[str, Any]) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input", "must be a number"):
        store.verify(actor="ada", **budget)


@pytest.mark.parametrize("value", [0.0, 1, "yes", b"x", [1]])
def test_a_flag_is_true_or_false(store: Store, home: Home, tree: Path, value: Any) -> None:
    package, other = store.push(tree, **SAID).package.package_id, store.create_package(**SAID)
    with home.unchanged():
        with refused(InvalidInputError, "invalid-input", "executable", type(value).__name__):
            store.ingest_file(other, "a", b"a", executable=value, actor="ada")
        with refused(InvalidInputError, "invalid-input", "for ever", type(value).__name__):
            store.extend_retention(package, for_ever=value, actor="ada")


@pytest.mark.parametrize("value", [None, 7, b"abcd", ["abcd"]])
def test_ids_and_reasons_are_text(store: Store, home: Home, tree: Path, value: Any) -> None:
    package = store.push(tree, **SAID).package.package_id
    with home.unchanged():
        for call in (
            lambda: store.get_package(value),
            lambda: store.explain_retention(value),
            lambda: store.apply_hold(package, reason=value, actor="ada"),
            lambda: store.release_hold(package, value, reason="x", actor="ada"),
            lambda: store.copy(source=value or 0, target="local", actor="ada"),
        ):
            with refused(InvalidInputError, "invalid-input", "must be text"):
                call()


@pytest.mark.parametrize("value", [7, b"plan", "plan.cbor", {}])
def test_a_plan_is_a_plan(store: Store, home: Home, value: Any) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input", "must be a GcPlan"):
        store.gc(actor="ada", plan=value)


@pytest.mark.parametrize("overrides", [{"": 1}, {"Foo Bar": 1}, {7: 1}, {"x": 0}, {"x": -1}, {"x": 10**30}])
def test_a_policy_that_is_absurd(overrides: dict[Any, Any]) -> None:
    with refused(InvalidInputError, "invalid-input"):
        RetentionPolicy(overrides)


@pytest.mark.parametrize("now", [1.7e15, True, "now", None])
def test_a_clock_tells_whole_microseconds(store: Store, home: Home, tree: Path, now: Any) -> None:
    package = store.push(tree, **SAID).package.package_id
    with (
        home.unchanged(),
        home.open(clock=lambda: now) as other,
        refused(InvalidInputError, "invalid-input", "a clock tells", type(now).__name__),
    ):
        other.apply_hold(package, reason="x", actor="ada")


def test_a_way_with_links_that_is_none() -> None:
    with refused(InvalidInputError, "invalid-input", "'ignore'"):
        Selection(symlinks="ignore")


@pytest.mark.parametrize("globs", [{"include": "*.log"}, {"exclude": "*.log"}])
def test_globs_are_given_as_a_sequence(globs: dict[str, Any]) -> None:
    # A bare text would be read as one glob a character, and `*` takes everything.
    with refused(InvalidInputError, "invalid-input", "'*.log'"):
        Selection(**globs)


@pytest.mark.parametrize(
    "glob", ["", "/", "//", "[z-a]", "./a", ".", "a/../b", "..", "a//b", "a/./*", "*/.."]
)
def test_a_glob_that_is_none(store: Store, home: Home, tree: Path, glob: str) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input", repr(glob)):
        store.push(tree, **SAID, selection=Selection(exclude=("a", glob)))
