"""What a peer is: the calls of each work, in words that a session fills in."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# Peers that are Python packages live apart: what they need must not be what this project depends on.
PYTHON_PEERS = REPOSITORY / "var" / "peers" / "bin"


@dataclass(frozen=True, slots=True)
class Promise:
    """What is safe when a command returns.

    Args:
        text: in words, with the system call that does it.
        durable: if not, a syncfs after the command is part of its time.
    """

    text: str
    durable: bool = False


READ_ONLY = Promise("reads only", durable=True)
UNSYNCED = Promise("none: syncfs counted")


@dataclass(frozen=True, slots=True)
class Call:
    """One process.

    Args:
        line: program and arguments, in the words of `Session`.
        directory: where it runs; empty: where all calls of the peer run.
        output: file of the session that takes its standard output.
    """

    line: str
    directory: str = ""
    output: str = ""


Calls = tuple[str | Call, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One program; a work without calls is one that it does not have.

    Args:
        version: says its version; one program a line.
        promise: of a push and of a deletion.
        promises: of a work by its name, where it is another one.
        whole: whether it is asked for every work; if not, those without calls are no lack of it.
        directory: where its calls run.
        variables: added to the environment.
        verified: the directory that a verify reads.
        prepare, before_verify, before_delete: not timed.
    """

    name: str
    version: str
    promise: Promise = UNSYNCED
    promises: Mapping[str, Promise] = field(default_factory=dict)
    whole: bool = True
    directory: str = "{place}"
    variables: Mapping[str, str] = field(default_factory=dict)
    verified: str = "{repository}"
    prepare: Calls = ()
    push: Calls = ()
    before_verify: Calls = ()
    verify: Calls = ()
    export: Calls = ()
    before_delete: Calls = ()
    delete: Calls = ()

    def calls(self, work: str) -> Calls:
        """Of `push`, `verify`, `export` or `delete`."""
        return {"push": self.push, "verify": self.verify, "export": self.export, "delete": self.delete}[work]

    def promised(self, work: str) -> Promise:
        """What is safe after a work."""
        usual = {"verify": READ_ONLY, "export": UNSYNCED}.get(work, self.promise)
        return self.promises.get(work, usual)

    def installed(self) -> str | None:
        """What its programs say of themselves; None if one is not here or does not run."""
        said = [first_line(line) for line in self.version.splitlines()]
        return ", ".join(filter(None, said)) if all(said) else None


def first_line(line: str) -> str | None:
    """The first line with a digit that a program prints; None if it is not here or does not run."""
    try:
        answer = subprocess.run(
            filled(line, fixed_words()),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    said = [line for line in answer.stdout.splitlines() if any(sign.isdigit() for sign in line)]
    return said[0].replace("'", "").replace('"', "").strip() if said else "unknown"


def fixed_words() -> dict[str, str]:
    """The words that mean the same in every session."""
    return {"python": sys.executable, "peers": str(PYTHON_PEERS), "project": str(REPOSITORY)}


def filled(line: str, words: Mapping[str, str]) -> tuple[str, ...]:
    """A line as arguments; a word's text stays one argument whatever is in it."""
    return tuple(argument.format_map(words) for argument in shlex.split(line))


class Session:
    """A peer on one repository of its own.

    The words: `{source}` the directory to push, `{place}` a directory for all that the program keeps,
    `{repository}` what an export reads, `{target}` where it writes, `{number}` of the last push, `{said}`
    what it printed, `{python}` ours, `{peers}` the programs of Python peers, `{project}` the checkout.
    """

    def __init__(self, peer: Peer, place: Path, source: Path, subject: str) -> None:
        self.peer = peer
        self.place = place
        self.source = source
        self.repository = place / "repository"
        self.target = place / "export"
        self.pushes = 0
        self._fixed = fixed_words() | {
            "source": str(source),
            "place": str(place),
            "repository": str(self.repository),
            "target": str(self.target),
            "subject": subject,
        }

    def reads(self, work: str) -> Path:
        """The directory that a work reads."""
        if work == "push":
            return self.source
        return Path(self.peer.verified.format_map(self._fixed)) if work == "verify" else self.repository

    def prepare(self) -> Iterator[Command]:
        """Make the empty repository."""
        return self._commands(self.peer.prepare)

    def before(self, work: str) -> Iterator[Command]:
        """Bring what a work needs."""
        calls = {"verify": self.peer.before_verify, "delete": self.peer.before_delete}
        return self._commands(calls.get(work, ()))

    def work(self, work: str) -> Iterator[Command]:
        """Do a work."""
        if work == "push":
            self.pushes += 1
        return self._commands(self.peer.calls(work), output="said" if work == "push" else "")

    def _commands(self, calls: Calls, output: str = "") -> Iterator[Command]:
        said = self.place / "said"
        words = self._fixed | {
            "number": str(self.pushes),
            "said": said.read_text(encoding="utf-8").strip() if said.exists() else "",
        }
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("ARTIFACTSTORE_")
        }
        added = {name: text.format_map(words) for name, text in self.peer.variables.items()}
        for item in calls:
            call = Call(item) if isinstance(item, str) else item
            written = call.output or output
            yield Command(
                filled(call.line, words),
                Path((call.directory or self.peer.directory).format_map(words)),
                inherited | added,
                output=self.place / written if written else None,
            )
