"""Relative paths that break a rule: refused at every door with the rule and the path, and nothing changes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from store.doors import HttpDoor
from store.harness import SAID, refused, write_tree

from artifactstore import (
    DuplicateRelativePathError,
    IntegrityError,
    InvalidInputError,
    check_directory,
    codec,
)
from artifactstore.digest import digest_pair, object_key

if TYPE_CHECKING:
    from pathlib import Path

    from store.doors import Door
    from store.harness import Home

    from artifactstore import Store

BROKEN = [
    ("", "it is empty", "''"),
    ("/", "it starts with a slash", "'/'"),
    ("/etc/passwd", "it starts with a slash", "'/etc/passwd'"),
    ("//a", "it starts with a slash", "'//a'"),
    ("a//b", "it has an empty segment", "'a//b'"),
    ("a/", "it has an empty segment", "'a/'"),
    (".", "it has a '.' or '..' segment", "'.'"),
    ("..", "it has a '.' or '..' segment", "'..'"),
    ("../a", "it has a '.' or '..' segment", "'../a'"),
    ("a/../b", "it has a '.' or '..' segment", "'a/../b'"),
    ("a/./b", "it has a '.' or '..' segment", "'a/./b'"),
    ("./a", "it has a '.' or '..' segment", "'./a'"),
    ("a/..", "it has a '.' or '..' segment", "'a/..'"),
    ("a\x00b", "it holds the control character U+0000", r"'a\u0000b'"),
    ("a\nb", "it holds the control character U+000A", r"'a\u000ab'"),
    ("a\x1bb", "it holds the control character U+001B", r"'a\u001bb'"),
    ("a\x7fb", "it holds the control character U+007F", r"'a\u007fb'"),
    ("a\x85b", "it holds the control character U+0085", r"'a\u0085b'"),
    ("a\u2028b", "it holds the control character U+2028", r"'a\u2028b'"),
    ("evil\u202egpj.exe", "it holds the control character U+202E", r"'evil\u202egpj.exe'"),
    ("a\u2066b", "it holds the control character U+2066", r"'a\u2066b'"),
    ("a\ud800b", "it is not valid UTF-8", r"'a\ud800b'"),
    ("a\udcff", "it is not valid UTF-8", r"'a\udcff'"),
    ("a" * 256, "it has a segment of more than 255 bytes", "'aaaa"),
    ("\u00fc" * 128, "it has a segment of more than 255 bytes", "'\u00fc\u00fc"),
    ("/".join(["a" * 240] * 17) + "b", "it is 4097 bytes long; 4096 are allowed", "'aaaa"),
]
# Refused when they come in; what was stored before this rule can be read.
HIDDEN = [
    ("a\u200bb", "U+200B", r"'a\u200bb'"),
    ("a\u200e", "U+200E", r"'a\u200e'"),
    ("a/\u200fb", "U+200F", r"'a/\u200fb'"),
    ("a\u061cb", "U+061C", r"'a\u061cb'"),
    ("\ufeffa", "U+FEFF", r"'\ufeffa'"),
    ("soft\u00adhyphen", "U+00AD", r"'soft\xadhyphen'"),
    ("a\ufff9b", "U+FFF9", r"'a\ufff9b'"),
    ("a\U000e0041b", "U+E0041", r"'a\U000e0041b'"),
    ("a\u034fb", "U+034F", r"'a\u034fb'"),
    ("a\u3164", "U+3164", r"'a\u3164'"),
    ("a\u115f", "U+115F", r"'a\u115f'"),
    ("a\uffa0", "U+FFA0", r"'a\uffa0'"),
    ("a\u2060b", "U+2060", r"'a\u2060b'"),
    ("a\u200db", "U+200D", r"'a\u200db'"),  # between letters that join without it
    ("\u200c\u0645", "U+200C", "'\\u200c\u0645'"),
    ("\u00e9\u200d\u200d\u00e9", "U+200D", "'\u00e9\\u200d\\u200d\u00e9'"),
    ("report\ufe0f.txt", "U+FE0F", "'report"),
]
ALLOWED = [
    "a",
    "...",
    "..a",
    "a..",
    ".hidden",
    "a b",
    " padded ",
    "-",
    "--help",
    "a\\b",
    "C:\\x",
    "CON",
    "a:b*?<>|\"'",
    "\u00fc/\u2713/\U0001f600",
    "e\u0301",
    "a" * 255,
    "\u00fc" * 127,
    "/".join(["a" * 240] * 17),
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",  # Persian, whose words need the joiner
    "\u0915\u094d\u200d\u0937",  # Hindi
    "\U0001f468\u200d\U0001f469\u200d\U0001f467.png",  # a family
    "\u2764\ufe0f/1\ufe0f\u20e3",  # a heart and a keycap
]


@pytest.mark.parametrize(("path", "rule", "shown"), BROKEN)
def test_a_broken_rule_is_named_with_the_path(
    python_door: Door, home: Home, path: str, rule: str, shown: str
) -> None:
    package = python_door.create_package(**SAID)
    with home.unchanged(), refused(InvalidInputError, "invalid-relative-path", rule, shown):
        python_door.ingest_file(package, path, b"bytes", actor="ada")


@pytest.mark.parametrize(("path", "rule", "shown"), BROKEN)
def test_what_cannot_be_stored_cannot_be_asked_for(
    store: Store, home: Home, path: str, rule: str, shown: str
) -> None:
    package = store.create_package(**SAID)
    with home.unchanged(), refused(InvalidInputError, "invalid-relative-path", rule, shown):
        store.get_file(package, path)


@pytest.mark.parametrize(("path", "character", "shown"), HIDDEN)
def test_what_is_not_seen_does_not_come_in(
    python_door: Door, home: Home, tmp_path: Path, path: str, character: str, shown: str
) -> None:
    rule = f"it holds the invisible or reordering character {character}"
    package = python_door.create_package(**SAID)
    with home.unchanged(), refused(InvalidInputError, "invalid-relative-path", rule, shown):
        python_door.ingest_file(package, path, b"bytes", actor="ada")
    tree = write_tree(tmp_path / "tree", {path: b"bytes", "seen": b"bytes"})
    with home.unchanged(), refused(InvalidInputError, "invalid-relative-path", rule):
        python_door.ingest_directory(package, tree, actor="ada")
    label = path.replace("/", "-")
    with home.unchanged(), refused(InvalidInputError, "invalid-field", "name", rule):
        python_door.create_package(**{**SAID, "name": label})


@pytest.mark.parametrize("path", [path for path, *_ in HIDDEN])
def test_what_came_in_before_that_rule_is_read_and_given_out(
    store: Store, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    with monkeypatch.context() as before:
        before.setattr("artifactstore.paths.hidden_character", lambda _text: None)
        before.setattr("artifactstore.fields.hidden_character", lambda _text: None)
        said = {**SAID, "name": path.replace("/", "-")}
        package = store.push(write_tree(tmp_path / "tree", {path: b"bytes"}), **said).package
    store.close()
    with home.open() as again:
        assert again.get_package(package.package_id) == package
        assert again.read_file(package.package_id, path) == b"bytes"
        again.export_package(package.package_id, tmp_path / "out")
        kit = tmp_path / "out" / "ARTIFACTSTORE-AUDIT"
        assert check_directory(kit / "manifest.cbor", tmp_path / "out").intact
        assert subprocess.run([sys.executable, "-I", kit / "verify.py"], check=False).returncode == 0
        assert again.replay(check=True).identical
        assert again.fsck(read=True).clean


@pytest.mark.parametrize("path", [path for path, *_ in BROKEN if path.isprintable() or path.isascii()])
def test_a_manifest_that_was_forged_writes_nothing_out_of_its_place(
    store: Store, home: Home, tmp_path: Path, path: str
) -> None:
    """Whoever can write to objects and views can name any path; export asks the rules again."""
    package = store.create_package(**SAID)
    store.ingest_file(package, "placeholder", b"evil", actor="ada")
    store.finalize_package(package, actor="ada")
    document: Any = codec.decode(store.get_manifest_bytes(package))
    document["files"][0]["relative_path"] = path
    document["content_digest"] = hashlib.sha256(codec.encode(document["files"])).digest()
    data = codec.encode(document)
    blake3 = digest_pair(data).blake3
    forged = home.objects / object_key(blake3)
    forged.parent.mkdir(parents=True, exist_ok=True)
    forged.write_bytes(data)
    with contextlib.closing(home.connect()) as connection:
        connection.execute(
            "UPDATE artifact_packages SET manifest_size = ?, manifest_blake3 = ?", (len(data), blake3)
        )
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for bare in (True, False):
        with refused(IntegrityError, "not-a-manifest", "unsafe relative path"):
            store.export_package(package, folder / "out", bare=bare)
        with refused(IntegrityError, "not-a-manifest", "unsafe relative path"):
            store.export_tar(package, io.BytesIO(), bare=bare)
    assert [found.name for found in (tmp_path / "a").rglob("*")] == ["b"]


@pytest.mark.parametrize("path", ALLOWED)
def test_everything_else_is_kept_as_given(python_door: Door, path: str) -> None:
    package = python_door.create_package(**SAID)
    assert python_door.ingest_file(package, path, b"bytes", actor="ada").relative_path == path
    assert python_door.list_files(package).items[0].relative_path == path
    assert python_door.read_file(package, path) == b"bytes"


@pytest.mark.parametrize(
    ("taken", "new", "reason"),
    [
        ("a/b.txt", "a/b.txt", "has a file 'a/b.txt' already"),
        ("a", "a/b", "'a/b' cannot stand beside 'a'"),
        ("a/b", "a/b/c/d", "'a/b/c/d' cannot stand beside 'a/b'"),
        ("a/b", "a", "'a' cannot stand beside 'a/b'"),
        ("a/b/c", "a/b", "'a/b' cannot stand beside 'a/b/c'"),
    ],
)
def test_a_path_that_is_taken(
    python_door: Door, home: Home, tmp_path: Path, taken: str, new: str, reason: str
) -> None:
    package = python_door.create_package(**SAID)
    python_door.ingest_file(package, taken, b"first", actor="ada")
    for other in ("a-b", "a0", "ab", "a.b"):
        python_door.ingest_file(package, other, b"neighbour", actor="ada")
    tree = write_tree(tmp_path / "tree", {"0": b"before", new: b"in a directory", "z": b"behind"})
    with home.unchanged(), refused(DuplicateRelativePathError, "duplicate-relative-path", reason):
        python_door.ingest_file(package, new, b"second", actor="ada")
    # Over HTTP the files of a directory come one after the other, and those before the refusal stay.
    whole = contextlib.nullcontext() if isinstance(python_door, HttpDoor) else home.unchanged()
    with whole, refused(DuplicateRelativePathError, "duplicate-relative-path", reason):
        python_door.ingest_directory(package, tree, actor="ada")
    assert python_door.read_file(package, taken) == b"first"


def test_paths_of_one_package_do_not_hinder_another(store: Store) -> None:
    one, two = store.create_package(**SAID), store.create_package(**SAID)
    store.ingest_file(one, "a", b"1", actor="ada")
    store.ingest_file(two, "a/b", b"2", actor="ada")
    assert store.read_file(one, "a") == b"1"
    assert store.read_file(two, "a/b") == b"2"
