"""The files of a package drawn as a tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactstore.cli.text import count_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactstore.model import File, Package


@dataclass(slots=True)
class _Folder:
    size: int = 0
    # A file is its size in bytes.
    entries: dict[str, _Folder | int] = field(default_factory=dict)


def tree_lines(package: Package, files: Iterable[File]) -> Iterator[str]:
    """One line for the package, each folder and each file, with sizes."""
    yield f"{package.name} ({count_text(package.file_count, 'file')}, {size_text(package.total_size)})"
    # A stack, since paths may be deeper than Python's recursion.
    stack = [("", list(reversed(_grown(files).entries.items())))]
    while stack:
        indent, rest = stack[-1]
        if not rest:
            stack.pop()
            continue
        name, entry = rest.pop()
        branch, below = ("├── ", "│   ") if rest else ("└── ", "    ")
        if isinstance(entry, int):
            yield f"{indent}{branch}{name}  {size_text(entry)}"
        else:
            yield f"{indent}{branch}{name}/  {size_text(entry.size)}"
            stack.append((indent + below, list(reversed(entry.entries.items()))))


def _grown(files: Iterable[File]) -> _Folder:
    root = _Folder()
    for file in files:
        folder = root
        *parents, name = file.relative_path.split("/")
        for parent in parents:
            below = folder.entries.setdefault(parent, _Folder())
            if isinstance(below, int):
                raise TypeError(f"{file.relative_path!r} lies below a file")
            folder = below
            folder.size += file.size
        folder.entries[name] = file.size
    return root
