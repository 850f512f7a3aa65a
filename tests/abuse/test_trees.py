"""Directories with what is no evidence: links, special files, unsafe names, the store itself."""

from __future__ import annotations

import os
import socket
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, TREE, refused, write_tree

from artifactstore import BackendError, InvalidInputError, Selection, SkippedFile, scan
from artifactstore.packages import SKIPPED_KEY

if TYPE_CHECKING:
    from store.doors import Door
    from store.harness import Home

    from artifactstore import IngestResult, Package, Store


def paths_of(store: Store, package: Package) -> list[str]:
    return [file.relative_path for file in store.list_files(package.package_id).items]


def push(store: Store, directory: Path, **selection: Any) -> tuple[list[str], IngestResult]:
    result = store.push(directory, **SAID, selection=Selection(**selection))
    return paths_of(store, result.package), result.ingest


def test_a_directory_that_is_none(door: Door, home: Home, tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree / "README.md")
    with home.unchanged():
        for path, reason in (
            (tree / "nowhere", "No such file or directory"),
            (tree / "README.md", "Not a directory"),
            (tree.parent / "link", "Not a directory"),
        ):
            with refused(InvalidInputError, "invalid-input", str(path), reason):
                door.push(path, **SAID)


def test_a_path_with_nul_is_no_directory(store: Store, home: Home) -> None:
    with home.unchanged(), refused(InvalidInputError, "invalid-input", "null"):
        store.push("a\x00b", **SAID)


def test_the_directory_itself_may_be_a_link(store: Store, tree: Path) -> None:
    link = tree.parent / "latest"
    link.symlink_to(tree)
    assert push(store, link)[0] == sorted(TREE, key=os.fsencode)


@pytest.mark.parametrize("content", ["nothing", "empty folders", "only excluded", "only links"])
def test_an_empty_directory_is_no_evidence(
    python_door: Door, home: Home, tmp_path: Path, content: str
) -> None:
    directory = tmp_path / "tree"
    (directory / "folder" / "below").mkdir(parents=True)
    selection = Selection(exclude=("*.tmp",), symlinks="skip")
    if content == "nothing":
        directory = directory / "folder" / "below"
    elif content == "only excluded":
        (directory / "folder" / "x.tmp").touch()
    elif content == "only links":
        (directory / "link").symlink_to("folder")
    package = python_door.create_package(**SAID)
    with home.unchanged():
        with refused(InvalidInputError, "empty-package", str(directory)):
            python_door.push(directory, **SAID, selection=selection)
        with refused(InvalidInputError, "empty-package", str(directory)):
            python_door.ingest_directory(package, directory, actor="ada", selection=selection)


def test_an_empty_file_is_evidence(door: Door, tmp_path: Path) -> None:
    package = door.push(write_tree(tmp_path / "tree", {"empty": b""}), **SAID).package
    assert (package.file_count, package.total_size) == (1, 0)
    assert door.read_file(package.package_id, "empty") == b""


@pytest.mark.parametrize("target", ["README.md", "logs", "nothing", "/etc/hostname", "..", ".", "link"])
def test_links_are_refused_unless_asked_for(python_door: Door, home: Home, tree: Path, target: str) -> None:
    (tree / "logs" / "link").symlink_to(target)
    with home.unchanged(), refused(InvalidInputError, "symlink", "'logs/link' is a symbolic link"):
        python_door.push(tree, **SAID)


def test_the_hint_says_how_to_push_links(store: Store, tree: Path) -> None:
    (tree / "link").symlink_to("logs")
    with pytest.raises(InvalidInputError) as caught:
        store.push(tree, **SAID)
    assert "--symlinks skip" in str(caught.value.hint)
    assert "--symlinks follow" in str(caught.value.hint)


def test_links_can_be_left_out(store: Store, tree: Path) -> None:
    (tree / "file-link").symlink_to("README.md")
    (tree / "folder-link").symlink_to("logs")
    (tree / "outside").symlink_to("/etc")
    result = store.push(tree, **SAID, selection=Selection(symlinks="skip"))
    assert paths_of(store, result.package) == sorted(TREE, key=os.fsencode)
    assert result.ingest.skipped == tuple(
        SkippedFile(path, "it is a symbolic link") for path in ("file-link", "folder-link", "outside")
    )
    assert result.package.metadata == {
        SKIPPED_KEY: [{"path": file.path, "reason": file.reason} for file in result.ingest.skipped]
    }


def test_links_can_be_followed_inside_the_directory(store: Store, tree: Path) -> None:
    (tree / "logs" / "file-link").symlink_to("../README.md")
    (tree / "folder-link").symlink_to("logs-old")
    (tree / "link-to-link").symlink_to("folder-link")
    (tree / "absolute").symlink_to(tree / "bin" / "run.sh")
    result = store.push(tree, **SAID, selection=Selection(symlinks="follow"))
    package = result.package.package_id
    added = {
        "absolute": TREE["bin/run.sh"],
        "folder-link/c.log": TREE["logs-old/c.log"],
        "link-to-link/c.log": TREE["logs-old/c.log"],
        "logs/file-link": TREE["README.md"],
    }
    assert {path: store.read_file(package, path) for path in paths_of(store, result.package)} == {
        **TREE,
        **added,
    }
    assert paths_of(store, result.package) == sorted([*TREE, *added], key=os.fsencode)
    assert store.get_file(package, "absolute").executable
    assert result.ingest.skipped == ()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("../outside.txt", "it is a symbolic link that leaves the directory"),
        ("../outside", "it is a symbolic link that leaves the directory"),
        ("/etc/hostname", "it is a symbolic link that leaves the directory"),
        ("..", "it is a symbolic link that leaves the directory"),
        ("logs/../../evidence-twin/file", "it is a symbolic link that leaves the directory"),
        ("nothing", "it is a symbolic link to no file"),
        ("link", "it is a symbolic link to no file"),
        ("pipe", "it is a symbolic link to no file"),
    ],
)
def test_followed_links_never_leave_the_directory(
    store: Store, home: Home, tree: Path, target: str, reason: str
) -> None:
    (tree.parent / "outside.txt").write_bytes(b"not evidence")
    write_tree(tree.parent / "outside", {"file": b"not evidence"})
    # Its name begins with that of the directory, but it is another one.
    write_tree(tree.parent / "evidence-twin", {"file": b"not evidence"})
    os.mkfifo(tree / "pipe")
    (tree / "link").symlink_to(target)
    selection = Selection(symlinks="follow", exclude=("pipe",))
    with home.unchanged(), refused(InvalidInputError, "symlink", "'link'", reason):
        store.push(tree, **SAID, selection=selection)
    result = store.push(
        tree, **SAID, selection=Selection(symlinks="follow", exclude=("pipe",), skip_unsafe=True)
    )
    assert paths_of(store, result.package) == sorted(TREE, key=os.fsencode)
    assert result.ingest.skipped == (SkippedFile("link", reason),)


@pytest.mark.parametrize(
    "loop", [{"logs/up": ".."}, {"logs/self": "."}, {"logs/x": "../bin", "bin/y": "../logs"}]
)
def test_a_loop_of_followed_links_is_refused(
    store: Store, home: Home, tree: Path, loop: dict[str, str]
) -> None:
    for link, target in loop.items():
        (tree / link).symlink_to(target)
    with home.unchanged(), refused(InvalidInputError, "symlink-loop", "leads back to a folder above it"):
        store.push(tree, **SAID, selection=Selection(symlinks="follow"))


def test_links_of_links_do_not_multiply_without_end(store: Store, home: Home, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"29/file": b"evidence"})
    for level in range(29):
        (tree / f"{level}").mkdir()
        for name in ("a", "b"):
            (tree / f"{level}" / name).symlink_to(f"../{level + 1}")
    with home.unchanged(), refused(InvalidInputError, "symlink-loop", "more than 10000 folders"):
        store.push(tree, **SAID, selection=Selection(symlinks="follow"))
    assert push(store, tree, symlinks="skip")[0] == ["29/file"]


def test_what_is_left_out_is_noted_in_the_order_of_names(store: Store, tmp_path: Path) -> None:
    # Else the same tree would be another request on another file system.
    tree = write_tree(tmp_path / "tree", {"file": b"evidence"})
    names = [f"{number:02}" for number in range(40)]
    for name in reversed(names):
        (tree / name).symlink_to("file")
    _, ingest = push(store, tree, symlinks="skip")
    assert [skipped.path for skipped in ingest.skipped] == names


def test_a_file_that_no_disk_can_hold_is_refused_before_it_is_read(
    store: Store, home: Home, tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "tree", {"small": b"s"})
    disk = os.statvfs(home.root)
    size = disk.f_bfree * disk.f_frsize + (1 << 30)
    try:
        with (tree / "sparse").open("wb") as file:
            file.truncate(size)
    except OSError:
        pytest.skip("no file can be that large here")
    package = store.create_package(**SAID)
    with home.unchanged():
        for call in (
            lambda: store.push(tree, **SAID),
            lambda: store.ingest_file(package, "sparse", tree / "sparse", actor="ada"),
        ):
            with refused(BackendError, "disk-full", str(home.objects)):
                call()


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_special_files_are_refused(
    store: Store, home: Home, tree: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tree / "logs" / "special"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    elif os.geteuid() == 0:
        os.mknod(path, 0o20600, os.makedev(1, 5))  # /dev/zero, which never ends
    else:
        pytest.skip("only root makes devices")
    with (
        home.unchanged(),
        refused(InvalidInputError, "not-a-regular-file", "'logs/special'", "FIFO, socket or device"),
    ):
        store.push(tree, **SAID)
    paths, ingest = push(store, tree, skip_unsafe=True)
    assert paths == sorted(TREE, key=os.fsencode)
    assert ingest.skipped == (SkippedFile("logs/special", "it is a FIFO, socket or device"),)


UNSAFE = [
    (b"new\nline", "U+000A", "new\nline"),
    (b"esc\x1b[31m", "U+001B", "esc\x1b[31m"),
    (b"latin1-\xfc", "not valid UTF-8", "latin1-\\xfc"),
    (b"cut-\xe2\x82", "not valid UTF-8", "cut-\\xe2\\x82"),
    ("gpj\u202eexe".encode(), "U+202E", "gpj\u202eexe"),
]


@pytest.mark.parametrize(("name", "rule", "recorded"), UNSAFE)
@pytest.mark.parametrize("is_folder", [True, False])
def test_unsafe_names_are_refused_or_left_out(
    store: Store, home: Home, tree: Path, name: bytes, rule: str, recorded: str, *, is_folder: bool
) -> None:
    path = os.fsencode(tree / "logs") + b"/" + name
    if is_folder:
        os.mkdir(path)
        Path(os.fsdecode(path), "file").touch()
    else:
        Path(os.fsdecode(path)).touch()
    with home.unchanged(), refused(InvalidInputError, "invalid-relative-path", "unsafe file", rule, "logs/"):
        store.push(tree, **SAID)
    result = store.push(tree, **SAID, selection=Selection(skip_unsafe=True))
    assert paths_of(store, result.package) == sorted(TREE, key=os.fsencode)
    (skipped,) = result.ingest.skipped
    assert skipped.path == f"logs/{recorded}"
    assert rule in skipped.reason
    assert result.package.metadata[SKIPPED_KEY] == [{"path": skipped.path, "reason": skipped.reason}]
    assert store.replay(check=True).identical


def test_a_path_that_is_too_long_as_a_whole(store: Store, home: Home, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "fine").touch()
    here = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    with home.unchanged(), refused(InvalidInputError, "invalid-relative-path", "4096 are allowed"):
        store.push(root, **SAID)
    paths, ingest = push(store, root, skip_unsafe=True)
    assert paths == ["fine"]
    assert len(ingest.skipped) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("Report.txt", "report.txt"),
        (unicodedata.normalize("NFC", "\u00fc.txt"), unicodedata.normalize("NFD", "\u00fc.txt")),
        ("stra\u00dfe", "STRASSE"),
        ("a/x", "A/y"),
    ],
)
def test_names_that_collide_elsewhere_are_kept_with_a_warning(
    store: Store, tmp_path: Path, names: tuple[str, ...]
) -> None:
    root = write_tree(tmp_path / "tree", {name: name.encode() for name in names})
    if len(list(root.iterdir())) < len(names):
        pytest.skip("this file system folds names")
    paths, ingest = push(store, root)
    assert paths == sorted(names, key=os.fsencode)
    (warning,) = ingest.warnings
    assert "are one file where case or Unicode form is folded" in warning
    assert all(repr(name.partition("/")[0]) in warning for name in names)


def test_backslashes_are_kept_with_a_warning(store: Store, tmp_path: Path) -> None:
    paths, ingest = push(store, write_tree(tmp_path / "tree", {"a\\b/c\\d": b"x"}))
    assert paths == ["a\\b/c\\d"]
    assert len(ingest.warnings) == 2
    assert all("backslash" in warning for warning in ingest.warnings)


def test_warnings_are_counted_rather_than_listed_without_end(store: Store, tmp_path: Path) -> None:
    _, ingest = push(store, write_tree(tmp_path / "tree", {f"a\\{number}": b"" for number in range(50)}))
    assert len(ingest.warnings) == 21
    assert ingest.warnings[-1] == "30 further paths with a backslash"


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*a" * 30 + "b", "a" * 255),
        ("?*" * 60 + "b", "a" * 255),
        ("[!b]*" * 30 + "b", "a" * 255),
        ("a/**/" * 30 + "b", "a/" * 1000 + "c"),
        ("**/" * 30 + "b", "a/" * 1000 + "c"),
        ("**a" * 30 + "**b", "a/" * 1000 + "c"),
        ("*/" * 30 + "**/*a*a*a*a*b", "a/" * 1000 + "a" * 200),
    ],
)
def test_no_glob_and_no_name_keep_a_walk_busy(glob: str, path: str) -> None:
    # A pattern that tries every way to share a name out among its stars would not come back.
    pattern = scan.compile_globs((glob,))
    assert pattern is not None
    assert pattern.fullmatch(path) is None
    assert pattern.fullmatch(path[:-1] + "b") is not None


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.log", "b/a.log", "b/c/a.log", "b/c/z.txt", "b/z.txt", "z.txt"]),
        (("*.log",), (), ["a.log", "b/a.log", "b/c/a.log"]),
        (("/*.log",), (), ["a.log"]),
        (("b/*.log",), (), ["b/a.log"]),
        (("b/**/*.log",), (), ["b/a.log", "b/c/a.log"]),
        (("b",), (), ["b/a.log", "b/c/a.log", "b/c/z.txt", "b/z.txt"]),
        (("c/",), (), ["b/c/a.log", "b/c/z.txt"]),
        (("?.log", "z.*"), (), ["a.log", "b/a.log", "b/c/a.log", "b/c/z.txt", "b/z.txt", "z.txt"]),
        (("[a-c].log",), (), ["a.log", "b/a.log", "b/c/a.log"]),
        (("[!a]*",), ("c",), ["b/a.log", "b/z.txt", "z.txt"]),
        ((), ("*.log",), ["b/c/z.txt", "b/z.txt", "z.txt"]),
        ((), ("b",), ["a.log", "z.txt"]),
        ((), ("b/",), ["a.log", "z.txt"]),
        ((), ("a.log/",), ["a.log", "b/a.log", "b/c/a.log", "b/c/z.txt", "b/z.txt", "z.txt"]),
        ((), ("/a.log",), ["b/a.log", "b/c/a.log", "b/c/z.txt", "b/z.txt", "z.txt"]),
        ((), ("b/*/",), ["a.log", "b/a.log", "b/z.txt", "z.txt"]),
        ((), ("**/c/**",), ["a.log", "b/a.log", "b/z.txt", "z.txt"]),
        (("*.log",), ("b/c",), ["a.log", "b/a.log"]),
    ],
)
def test_globs(
    store: Store, tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    names = ["a.log", "z.txt", "b/a.log", "b/z.txt", "b/c/a.log", "b/c/z.txt"]
    root = write_tree(tmp_path / "tree", dict.fromkeys(names, b""))
    paths, ingest = push(store, root, include=include, exclude=exclude)
    assert paths == expected
    assert ingest.skipped == ()


def test_what_is_excluded_is_not_looked_at(store: Store, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    (tree / "link").symlink_to("/etc")
    (tree / "bad\nname").touch()
    hidden = tree / "hidden"
    hidden.mkdir(mode=0)
    try:
        paths, _ = push(store, tree, exclude=("pipe", "link", "bad*", "hidden/"))
    finally:
        hidden.chmod(0o700)
    assert paths == sorted(TREE, key=os.fsencode)


@pytest.fixture
def around(home: Home, store: Store) -> Path:
    """The directory that holds the store; it has evidence too."""
    store.push(write_tree(home.root / "evidence", TREE), **SAID)
    return home.root


def test_a_directory_that_holds_the_store_is_refused(home: Home, store: Store, around: Path) -> None:
    with home.unchanged():
        for directory in (around, around.parent):
            with refused(InvalidInputError, "store-inside", "holds the store itself"):
                store.push(directory, **SAID)
        with refused(InvalidInputError, "store-inside", "storage/"):
            store.push(around, **SAID, selection=Selection(exclude=("artifactstore.db*",)))
        with refused(InvalidInputError, "store-inside", "artifactstore.db"):
            store.push(around, **SAID, selection=Selection(exclude=("storage",)))
        with refused(InvalidInputError, "store-inside"):
            store.push(home.objects, **SAID)
    paths, _ = push(store, around, exclude=("artifactstore.db*", "storage"))
    assert paths == [f"evidence/{path}" for path in sorted(TREE, key=os.fsencode)]


def test_links_and_hard_links_to_the_store_are_refused(home: Home, store: Store, around: Path) -> None:
    evidence = around / "evidence"
    selection = Selection(symlinks="follow", exclude=("artifactstore.db*", "storage"))
    os.link(home.database, evidence / "hard")
    with home.unchanged(), refused(InvalidInputError, "store-inside", "'evidence/hard'"):
        store.push(around, **SAID, selection=selection)
    (evidence / "hard").unlink()
    (evidence / "soft").symlink_to(home.database)
    with home.unchanged(), refused(InvalidInputError, "store-inside", "'evidence/soft'"):
        store.push(around, **SAID, selection=selection)
    (evidence / "soft").unlink()
    (evidence / "objects").symlink_to(home.objects)
    with home.unchanged(), refused(InvalidInputError, "store-inside", "'evidence/objects'"):
        store.push(around, **SAID, selection=selection)
