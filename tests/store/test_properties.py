"""Properties that hold for every input of a kind, with inputs made by hypothesis."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from artifactstore import ArtifactStoreError, InvalidInputError, NotFoundError, Selection
from artifactstore.fields import check_label
from artifactstore.media_types import check_media_type, guess_media_type
from artifactstore.moment import Uuid7Source
from artifactstore.paths import broken_new_rule, broken_rule, check_relative_path, parents, printable
from artifactstore.scan import Scan
from store.harness import LARGE, SAID, Home, incompressible, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Store

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
safe_names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="/\u2028\u2029"),
    min_size=1,
    max_size=12,
).filter(lambda name: broken_new_rule(name) is None)


def examples(count: int) -> settings:
    """So many examples, each of which may take its time."""
    return settings(
        max_examples=count, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples, since they do not hinder each other."""
    with Home(tmp_path_factory.mktemp("shared") / "home").open() as store:
        yield store


# Paths and labels


@given(any_text)
@example("a/" * 100 + "a")
@example("-" * 100)
@example("a" * 5000)
def test_a_path_is_taken_as_it_is_or_refused(path: str) -> None:
    rule = broken_rule(path)
    if rule is None:
        assert check_relative_path(path) == path
        assert path
        encoded = path.encode()
        assert len(encoded) <= 4096
        assert all(segment and segment not in {b".", b".."} for segment in encoded.split(b"/"))
    else:
        with pytest.raises(InvalidInputError) as caught:
            check_relative_path(path)
        assert rule in caught.value.message
        assert printable(path) in caught.value.message


@given(any_text)
@example("\u202e\u2066\x00\n\x1b'\"\\")
@example("x" * 10_000 + "\n")
def test_every_path_can_be_shown(path: str) -> None:
    shown = printable(path)
    assert shown.isprintable()
    assert len(shown) < 2500
    shown.encode()


@given(st.lists(safe_names, min_size=1, max_size=6).map("/".join))
def test_parents_are_the_folders_above(path: str) -> None:
    above = parents(path)
    assert len(above) == path.count("/")
    assert all(path.startswith(f"{folder}/") for folder in above)


@given(any_text)
def test_a_label_is_taken_as_it_is_or_refused(text: str) -> None:
    refusal = None
    try:
        assert check_label(text, field="name") == text
    except InvalidInputError as error:
        refusal = error
    if refusal is None:
        text.encode()
        assert text == text.strip() != ""
    else:
        assert refusal.code == "invalid-field"
        assert refusal.message.isprintable()


@given(any_text)
def test_media_types_are_guessed_for_every_name(name: str) -> None:
    assert check_media_type(guess_media_type(name)) == guess_media_type(name)


@given(any_text)
def test_a_media_type_is_taken_as_it_is_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        assert check_media_type(text) == text
        assert text.isascii()
        assert text.isprintable() or "\t" in text


# Questions


@examples(100)
@given(text=any_text)
def test_questions_are_answered_or_refused(shared: Store, text: str) -> None:
    for ask in (
        lambda: shared.get_package(text),
        lambda: shared.find_object(text),
        lambda: shared.list_packages(cursor=text),
        lambda: shared.list_packages(status=text),
        lambda: shared.list_packages(name=text),
        lambda: shared.list_packages(metadata={text: text}),
    ):
        refusals: list[ArtifactStoreError] = []
        try:
            ask()
        except (InvalidInputError, NotFoundError) as error:
            refusals.append(error)
        assert all(refusal.message.isprintable() for refusal in refusals)


# Ids


@given(st.lists(st.integers(1, 2**45), min_size=1, max_size=30), st.integers(1, 300))
def test_ids_sort_in_the_order_in_which_they_were_made_whatever_the_clock_does(
    moments: list[int], each: int
) -> None:
    clock = iter([moment for moment in moments for _ in range(each)])
    source = Uuid7Source(lambda: next(clock) * 1000)
    ids = [source() for _ in range(len(moments) * each)]
    assert ids == sorted(set(ids))
    assert {(made.version, made.variant) for made in ids} == {(7, uuid.RFC_4122)}
    # As long as the clock moves forward, an id tells its time.
    assert ids[0].int >> 80 == moments[0]


def test_many_ids_of_one_moment_stay_in_order() -> None:
    source = Uuid7Source(lambda: 1_795_000_000_000_000)
    ids = [source() for _ in range(20_000)]
    assert ids == sorted(set(ids))


# Order and choice of files


@examples(40)
@given(
    names=st.lists(
        st.lists(safe_names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=15, unique=True
    )
)
@example(names=["a/b", "a.b", "a-b", "a0", "ab", "A", "a b/c", "\u00fc/x", "\uffff", "\U00010000"])
def test_files_come_in_the_order_of_the_bytes_of_their_paths(
    shared: Store, tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    taken = {name for name in names if not any(other.startswith(f"{name}/") for other in names)}
    tree = write_tree(tmp_path_factory.mktemp("tree"), {name: name.encode() for name in taken})
    package = shared.push(tree, **SAID).package
    expected = sorted(taken, key=str.encode)
    files = shared.list_files(package.package_id).items
    assert [file.relative_path for file in files] == expected
    assert [file.relative_path for file in shared.get_manifest(package.package_id).files] == expected
    assert all(shared.read_file(package.package_id, name) == name.encode() for name in expected)


FOREST = [
    "a",
    "b",
    "ab",
    "a.b",
    "a/a",
    "a/b",
    "a/ab",
    "b/a",
    "b/b/a",
    "b/ab/a.b",
    "ba/b",
    "ba/ab/b/a",
    "]/a",
    "-/-",
    "!",
]


def matches(glob: str, text: str, *, begins: bool = True) -> bool:
    """Whether a glob matches a whole text: one character at a time, nothing clever.

    Args:
        begins: a name begins here, in the glob.
    """
    if not glob:
        return not text
    if glob.startswith("**/") and begins:
        rest = glob[3:]
        return matches(rest, text) or any(
            matches(rest, text[at + 1 :]) for at, character in enumerate(text) if character == "/"
        )
    if glob.startswith("**"):
        return any(matches(glob[2:], text[at:], begins=False) for at in range(len(text) + 1))
    if glob[0] == "*":
        name = text.partition("/")[0]
        return any(matches(glob[1:], text[at:], begins=False) for at in range(len(name) + 1))
    if not text:
        return False
    start = 2 if glob.startswith("[!") else 1
    end = glob.find("]", start + 1) if glob[0] == "[" else -1
    if end > 0:  # else the bracket is a character like any other
        chosen, negated = glob[start:end], start == 2
        fits = text[0] != "/" and ((text[0] in chosen) is not negated)
        return fits and matches(glob[end + 1 :], text[1:], begins=False)
    if glob[0] == "?":
        return text[0] != "/" and matches(glob[1:], text[1:], begins=False)
    return glob[0] == text[0] and matches(glob[1:], text[1:], begins=glob[0] == "/")


def selects(glob: str, path: str) -> bool:
    """Whether a glob takes a file: by its own path or by that of a folder above it."""
    body = glob.strip("/")
    candidates = parents(path) if glob.endswith("/") else [path, *parents(path)]
    if glob.startswith("/") or "/" in body:
        return any(matches(body, candidate) for candidate in candidates)
    return any(
        matches(body, "/".join(segments[start:]))
        for segments in (candidate.split("/") for candidate in candidates)
        for start in range(len(segments))
    )


globs = st.builds(
    lambda head, body, tail: head + "".join(body) + tail,
    st.sampled_from(["", "", "", "/"]),
    st.lists(
        st.sampled_from(
            ["a", "b", ".", "/", "*", "?", "**", "**/", "[ab]", "[!a]", "[.-]", "[!]b]", "[]]", "-"]
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["", "", "", "/"]),
).filter(lambda glob: "***" not in glob and {"", ".", ".."}.isdisjoint(glob.strip("/").split("/")))


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A tree and a descriptor on it."""
    root = write_tree(
        tmp_path_factory.mktemp("forest"),
        dict.fromkeys(["x/" + path for path in FOREST if "/" not in path], b""),
    )
    for path in FOREST:
        # A name is a file in one place and a folder in the other.
        write_tree(root / "y" if "/" in path else root / "x", {path: b""})
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield root, descriptor
    os.close(descriptor)


def taken(forest: tuple[Path, int], selection: Selection) -> list[str]:
    root, descriptor = forest
    runs = Scan(descriptor, str(root), selection, frozenset()).runs()
    return [run.folder + name for run in runs for name, _ in run.names]


@examples(400)
@given(chosen=st.lists(globs, min_size=1, max_size=3))
@example(chosen=["[!]b]"])
@example(chosen=["**/a/"])
@example(chosen=["[!]", "a]"])
@example(chosen=["a**b"])
def test_globs_do_what_a_simple_matcher_does(forest: tuple[Path, int], chosen: list[str]) -> None:
    everything = taken(forest, Selection())
    assert len(everything) == len(FOREST)
    selected = [path for path in everything if any(selects(glob, path) for glob in chosen)]
    assert taken(forest, Selection(include=tuple(chosen))) == selected
    assert taken(forest, Selection(exclude=tuple(chosen))) == [
        path for path in everything if path not in selected
    ]


@examples(100)
@given(chosen=st.lists(st.text("ab/*?[]!-.\\^$(){}|+&~#", max_size=12), min_size=1, max_size=3))
@example(chosen=["[a--b]", "[a||b]", "[a&&b]", "[a~~b]", "[[a]", "[\\]", "[^a]"])
def test_any_text_is_a_glob_or_refused(forest: tuple[Path, int], chosen: list[str]) -> None:
    with contextlib.suppress(InvalidInputError):
        taken(forest, Selection(include=tuple(chosen)))


# Bytes


@examples(25)
@given(
    size=st.sampled_from([0, 1, LARGE - 1, LARGE, LARGE + 1, 2 * LARGE - 1, 2 * LARGE, 2 * LARGE + 4095])
    | st.integers(0, 3 * LARGE),
    cuts=st.lists(st.floats(0, 1), max_size=12),
)
def test_however_a_stream_is_cut_it_is_the_same_file(shared: Store, size: int, cuts: list[float]) -> None:
    data = incompressible(size)
    edges = sorted({0, size, *(int(cut * size) for cut in cuts)})
    chunks = [data[start:end] for start, end in pairwise(edges)]
    package = shared.create_package(**SAID)
    file = shared.ingest_file(package, "data", iter(chunks), actor="ada")
    assert (file.size, file.digest.value, file.sha256.value) == (
        size,
        blake3(data).digest(),
        hashlib.sha256(data).digest(),
    )
    with shared.open_file(package, "data") as stream:
        assert stream.read() == data


@examples(60)
@given(
    data=st.binary(max_size=200),
    reads=st.lists(st.tuples(st.integers(0, 220), st.integers(0, 220)), max_size=10),
)
def test_any_sequence_of_seeks_and_reads_gives_what_a_plain_file_gives(
    shared: Store, data: bytes, reads: list[tuple[int, int]]
) -> None:
    assume(reads)
    package = shared.create_package(**SAID)
    shared.ingest_file(package, "data", data, actor="ada")
    with shared.open_file(package, "data") as stream:
        for position, length in reads:
            assert stream.seek(position) == position
            assert stream.read(length) == data[position : position + length]
            assert stream.tell() == position + len(data[position : position + length])
