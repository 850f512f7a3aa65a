"""Walking a directory of evidence: sorted, without following links, refusing what is no plain file."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from artifactstore.errors import InvalidInputError
from artifactstore.own_places import lies_in
from artifactstore.paths import broken_new_rule, collision_key, printable
from artifactstore.results import SkippedFile
from artifactstore.sources import opened_folder, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SYMLINK_MODES = ("error", "skip", "follow")
_LINKED_FOLDERS_MAX = 10_000  # walked over followed links; links of links multiply
_RUN = 128  # files handed to a worker at once
_WARNINGS_MAX = 20  # of one kind; the rest is counted


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a directory is evidence.

    Args:
        symlinks: `error` refuses the directory, `skip` leaves links out, `follow` takes what they point to
            as long as that lies in the directory.
        include: globs; if there are any, only files that match one are taken.
        exclude: globs of files and folders that are left out; they win over `include`.
        skip_unsafe: leave out what breaks a rule instead of refusing the directory.
    """

    symlinks: str = "error"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    skip_unsafe: bool = False

    def __post_init__(self) -> None:
        if self.symlinks not in SYMLINK_MODES:
            raise InvalidInputError(
                f"unknown way with symbolic links: {printable(self.symlinks)}",
                hint=f"one of {', '.join(SYMLINK_MODES)}",
            )
        choices: tuple[object, ...] = (self.include, self.exclude)
        for globs in choices:
            if isinstance(globs, str):
                # It would be read as one glob a character.
                raise InvalidInputError(f"globs must be a tuple of texts, not {printable(globs)}")


@dataclass(frozen=True, slots=True)
class Run:
    """Some files of one folder, in order.

    Args:
        folder: relative path in the package, with a slash at the end, or empty for the root.
        source: the folder below the root where the files really lie; differs behind a followed link.
        names: (name in the package, name in `source`).
    """

    folder: str
    source: str
    names: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.names)


class _Entry(NamedTuple):  # one for each name of a tree: a dataclass takes four times as long to make
    order: bytes
    name: str
    source: str  # relative to the root
    is_folder: bool


@dataclass(slots=True)
class Scan:
    """One walk over a directory; `skipped` and `warnings` are filled as it goes.

    Args:
        root: descriptor of the directory.
        root_path: its real path, for resolving links and for messages.
        selection: what to take.
        store_files: (device, inode) of the store's own files and folders.
    """

    root: int
    root_path: str
    selection: Selection
    store_files: frozenset[tuple[int, int]]
    skipped: list[SkippedFile] = field(default_factory=list)
    _collisions: list[str] = field(default_factory=list)
    _backslashes: list[str] = field(default_factory=list)
    _linked_folders: int = 0
    _store_inodes: frozenset[int] = frozenset()
    _include: re.Pattern[str] | None = None
    _exclude: re.Pattern[str] | None = None

    def __post_init__(self) -> None:
        self._store_inodes = frozenset(inode for _, inode in self.store_files)
        self._include = compile_globs(self.selection.include)
        self._exclude = compile_globs(self.selection.exclude)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know, one line a fact."""
        return (
            *_limited(self._collisions, "further names that collide where case or Unicode form is folded"),
            *_limited(self._backslashes, "further paths with a backslash"),
        )

    def runs(self) -> Iterator[Run]:
        """The files in the order of the bytes of their relative paths.

        Raises:
            InvalidInputError: a path, a link or a special file breaks a rule and may not be skipped.
            AccessError: a folder cannot be read.
            SourceChangedError: a folder was replaced during the walk.
        """
        # (folder in the package, folder on disk, entries still to do); a stack, since trees may be deep.
        stack = [("", "", iter(self._entries("", "")))]
        while stack:
            folder, source, entries = stack[-1]
            names: list[tuple[str, str]] = []
            below: _Entry | None = None
            for entry in entries:
                if entry.is_folder:
                    below = entry
                    break
                place, _, name = entry.source.rpartition("/")
                if place != source:
                    # Behind a followed link: the file lies in another folder than its neighbours.
                    if names:
                        yield Run(folder, source, names)
                        names = []
                    yield Run(folder, place, [(entry.name, name)])
                    continue
                names.append((entry.name, name))
                if len(names) == _RUN:
                    yield Run(folder, source, names)
                    names = []
            if names:
                yield Run(folder, source, names)
            if below is None:
                stack.pop()
                continue
            if any(below.source == above for _, above, _ in stack):
                message = (
                    f"the symbolic link {printable(folder + below.name)} leads back to a folder above it"
                )
                raise InvalidInputError(message, hint="use --symlinks skip", code="symlink-loop")
            path = f"{folder}{below.name}/"
            if path != f"{below.source}/":
                self._linked_folders += 1
                if self._linked_folders > _LINKED_FOLDERS_MAX:
                    # Two links in each of thirty folders make a thousand million paths.
                    message = f"more than {_LINKED_FOLDERS_MAX} folders lie behind symbolic links"
                    raise InvalidInputError(message, hint="use --symlinks skip", code="symlink-loop")
            stack.append((path, below.source, iter(self._entries(path, below.source))))

    def _entries(self, folder: str, source: str) -> list[_Entry]:
        """The names of one folder that are taken, sorted as their full paths are."""
        found: list[_Entry] = []
        earlier = len(self.skipped)
        with opened_folder(self.root, source) as descriptor, reading(folder or "."):
            self._refuse_store(descriptor, folder)
            # In an order of our own, since what is left out is noted as it is met.
            with os.scandir(descriptor) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            for entry in entries:
                taken = self._classify(entry, folder, source)
                if taken is not None:
                    found.append(taken)
        found.sort(key=lambda entry: entry.order)
        # They go into the metadata, which must not depend on the order in which a file system lists names.
        self.skipped[earlier:] = sorted(self.skipped[earlier:], key=lambda file: file.path.encode())
        self._note_names(folder, found)
        return found

    def _classify(self, entry: os.DirEntry[str], folder: str, source: str) -> _Entry | None:
        path = folder + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if self._excluded(path, is_folder=is_folder):
            return None
        rule = broken_new_rule(path)
        if rule is not None:
            self._leave_out(path, rule, code="invalid-relative-path")
            return None
        where = f"{source}/{entry.name}" if source else entry.name
        if entry.is_symlink():
            return self._follow(entry.name, path, where)
        if is_folder:
            return _entry(entry.name, where, is_folder=True)
        if not entry.is_file(follow_symlinks=False):
            self._leave_out(path, "it is a FIFO, socket or device", code="not-a-regular-file")
            return None
        if not self._included(path):
            return None
        if self._is_store_file(entry):
            raise _store_inside(path)
        return _entry(entry.name, where, is_folder=False)

    def _follow(self, name: str, path: str, where: str) -> _Entry | None:
        mode = self.selection.symlinks
        if mode == "skip":
            self.skipped.append(SkippedFile(_storable(path), "it is a symbolic link"))
            return None
        if mode == "error":
            raise InvalidInputError(
                f"{printable(path)} is a symbolic link",
                hint="use --symlinks skip to leave links out, or --symlinks follow to take their targets",
                code="symlink",
            )
        target = os.path.realpath(os.path.join(self.root_path, where))
        inside = os.path.relpath(target, self.root_path)
        if inside == ".." or inside.startswith("../"):
            self._leave_out(path, "it is a symbolic link that leaves the directory", code="symlink")
            return None
        try:
            status = os.stat(target)
        except OSError:
            status = None
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        if status is None or not (is_folder or stat.S_ISREG(status.st_mode)):
            self._leave_out(path, "it is a symbolic link to no file", code="symlink")
            return None
        if not is_folder and not self._included(path):
            return None
        if lies_in(target, self.store_files):
            raise _store_inside(path)
        return _entry(name, "" if inside == "." else inside, is_folder=is_folder)

    def _leave_out(self, path: str, rule: str, *, code: str) -> None:
        if not self.selection.skip_unsafe:
            raise InvalidInputError(
                f"unsafe file {printable(path)}: {rule}",
                hint="rename it, exclude it, or use --skip-unsafe to leave such files out",
                code=code,
            )
        self.skipped.append(SkippedFile(_storable(path), rule))

    def _excluded(self, path: str, *, is_folder: bool) -> bool:
        return self._exclude is not None and bool(self._exclude.fullmatch(path + "/" * is_folder))

    def _included(self, path: str) -> bool:
        return self._include is None or bool(self._include.fullmatch(path))

    def _is_store_file(self, entry: os.DirEntry[str]) -> bool:
        # The inode comes with the listing; only a match of it is worth a look at the device.
        inode = entry.inode()
        return inode in self._store_inodes and (
            (entry.stat(follow_symlinks=False).st_dev, inode) in self.store_files
        )

    def _refuse_store(self, descriptor: int, folder: str) -> None:
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) in self.store_files:
            raise _store_inside(folder)

    def _note_names(self, folder: str, entries: list[_Entry]) -> None:
        seen: dict[str, str] = {}
        for entry in entries:
            other = seen.setdefault(collision_key(entry.name), entry.name)
            if other != entry.name:
                self._collisions.append(
                    f"{printable(folder + other)} and {printable(folder + entry.name)} are one file where"
                    " case or Unicode form is folded"
                )
            if "\\" in entry.name:
                self._backslashes.append(f"{printable(folder + entry.name)} has a backslash in its name")


def _entry(name: str, source: str, *, is_folder: bool) -> _Entry:
    # A folder sorts as its files do: with the slash that follows it in their paths.
    return _Entry(name.encode() + b"/" * is_folder, name, source, is_folder)


def _store_inside(path: str) -> InvalidInputError:
    return InvalidInputError(
        f"the directory holds the store itself at {printable(path or '.')}",
        hint="exclude that folder or push another one",
        code="store-inside",
    )


def _storable(path: str) -> str:
    """A path that may be no text at all, as metadata can hold it: a byte that is no UTF-8 as `\\xff`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _limited(lines: list[str], more: str) -> Iterable[str]:
    yield from lines[:_WARNINGS_MAX]
    if len(lines) > _WARNINGS_MAX:
        yield f"{len(lines) - _WARNINGS_MAX} {more}"


def compile_globs(globs: tuple[str, ...]) -> re.Pattern[str] | None:
    """One pattern for all globs; a folder's path ends with a slash.

    A glob without a slash matches a name at any depth; one with a slash matches the path from the root. `*`
    and `?` stop at slashes, `**` does not, `**/` at the beginning of a name stands for any folders or none,
    and what matches a folder matches all below it.
    """
    if not globs:
        return None
    try:
        return re.compile("|".join(_translate(glob) for glob in globs), re.DOTALL)
    except re.error as error:
        raise InvalidInputError(
            f"not a glob among {', '.join(map(printable, globs))}: {printable(error.msg)}"
        ) from error


# What a star may take before a text that is fixed in length; the shortest first.
_STARS = {"*": "[^/]*?", "**": ".*?", "**/": "(?:.*?/)??"}


def _translate(glob: str) -> str:
    """The pattern of one glob, which matches in a time in proportion to the path, whatever both are.

    Once the text behind a star has been found, an earlier place for what follows is never worse than a later
    one. So each star but the last is atomic: it is not tried again when something fails further on.
    """
    body = glob.strip("/")
    if not {"", ".", ".."}.isdisjoint(body.split("/")):
        # It would match nothing, and nobody would notice what it fails to leave out.
        raise InvalidInputError(
            f"not a glob: {printable(glob)}",
            hint="write it as a path from the directory on, such as logs/*.log",
        )
    # Texts of fixed length, each behind a star; the first one stands at the beginning of the path.
    stars, texts = [""], [""]
    if "/" not in body and not glob.startswith("/"):
        stars, texts = ["", "**/"], ["", ""]
    for part in re.split(r"(\*\*/?|\*|\?|\[!?\]?[^\]]*\])", body):
        if part in _STARS:
            # Elsewhere than at the beginning of a name `**/` is two things: any text, then a slash.
            begins = texts[-1].endswith("/") or (not texts[-1] and stars[-1] in {"", "**/"})
            split = part == "**/" and not begins
            stars.append("**" if split else part)
            texts.append("/" if split else "")
        else:
            texts[-1] += _fixed(part)
    below = "/.*" if glob.endswith("/") else "(?:/.*)?"
    pattern = run = ""  # a run of texts is what no star for several folders divides
    for number, (star, text) in enumerate(zip(stars, texts, strict=True)):
        if star.startswith("**"):
            pattern, run = f"{pattern}(?>{run})", ""
        atomic = star == "*" and number < len(stars) - 1
        found = f"{_STARS.get(star, '')}{text}"
        run += f"(?>{found})" if atomic else found
    return f"{pattern}{run}{below}"


def _fixed(part: str) -> str:
    """The pattern of a part of a glob without a star."""
    if part == "?":
        return "[^/]"
    if part.startswith("[") and part.endswith("]") and part not in {"[]", "[!]"}:
        negated = part[1] == "!"
        inner = part[2:-1] if negated else part[1:-1]
        return f"(?!/)[{'^' * negated}{_escape_class(inner)}]"
    return re.escape(part)


def _escape_class(inner: str) -> str:
    """The inside of a bracket: ranges stay, everything that `re` would act upon is escaped."""
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner)
    return re.sub(r"(?<=.)--", r"-\\-", escaped)
