"""Commands that take evidence out of a store and check it without one: `export`, `check`."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from artifactstore.cli import facts, options
from artifactstore.cli.columns import Column
from artifactstore.cli.exit_codes import FINDINGS
from artifactstore.cli.newfile import STANDARD_OUTPUT
from artifactstore.cli.output import say
from artifactstore.cli.text import count_text, size_text
from artifactstore.errors import InvalidInputError
from artifactstore.facts import members
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from _typeshed import ReadableBuffer

    from artifactstore.cli.output import Output
    from artifactstore.results import CheckResult, ExportResult


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference between a directory and its manifest: CHANGED, MISSING or UNLISTED."""

    finding: str
    path: str


_TOLD = 5  # names in a warning
_FINDING_COLUMNS: tuple[Column[Finding], ...] = (
    Column("FINDING", lambda finding: finding.finding),
    Column("PATH", lambda finding: finding.path),
)


def export(
    context: options.Context,
    package: options.PackageId,
    directory: Annotated[
        str | None,
        typer.Argument(metavar="DIR", help="A new or empty directory to fill.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write a tar to a new file instead; - is stdout."
        ),
    ] = None,
    bare: Annotated[bool, typer.Option("--bare", help="Without the auditor's kit.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a finalized package out, every file checked on the way.

    One folder beside the evidence is the auditor's kit: manifest, sums, and a checker that needs nothing
    but Python.
    """
    run = options.invocation(context)
    if directory is not None and output is None:
        with run.store() as store, run.progress() as progress:
            result = store.export_package(package, directory, bare=bare, on_progress=progress.on_progress)
    elif output == STANDARD_OUTPUT and directory is None:
        run.output.refuse_terminal()
        if as_json:
            raise InvalidInputError("stdout takes the tar or the JSON document, not both", code="usage")
        with run.store() as store:
            result = store.export_tar(package, cast("IO[bytes]", _AnswerStream(run.output)), bare=bare)
        run.output.flush()
        _warn_of_look_alikes(result)
        return
    elif output is not None and directory is None:
        with run.store() as store, run.new_file(output) as stream:
            result = store.export_tar(package, stream, bare=bare)
    else:
        raise InvalidInputError("give either DIR or --output FILE", code="usage")
    if as_json:
        run.output.document(result)
    elif not run.quiet:
        run.output.record([fact for fact in facts.record_of(result) if fact.name != "look_alikes"])
    run.output.flush()
    _warn_of_look_alikes(result)


def _warn_of_look_alikes(result: ExportResult) -> None:
    """Tell, however quiet the program has to be: somebody may run what the producer put there."""
    if result.look_alikes:
        names = ", ".join(map(printable, result.look_alikes[:_TOLD]))
        more = len(result.look_alikes) - _TOLD
        kit = result.audit_directory
        say(f"WARNING: the evidence itself holds {names}{f' and {more} more' if more > 0 else ''}")
        say("Run nothing from there: the producer chose what it is.")
        say(
            f"The auditor's kit is {kit}: tell the auditor so."
            if kit
            else "This export has no auditor's kit."
        )


def check(
    context: options.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The directory to check.")],
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="CBOR manifest to check against.", show_default="that of the kit in DIR"
        ),
    ] = None,
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """Compare a directory with a manifest; needs no store.

    Prints what is CHANGED, MISSING or UNLISTED, and exits with 3 if anything is.
    """
    from artifactstore.check import check_directory, decode_manifest
    from artifactstore.digest import Digest, digest_pair

    run = options.invocation(context)
    path = _kit_manifest(directory) if manifest is None else manifest
    data = _manifest_bytes(path)
    result = check_directory(decode_manifest(data, path), directory)
    digest = Digest("blake3", digest_pair(data).blake3)
    if as_json and not as_lines:
        run.output.document({"intact": result.intact, "manifest_digest": str(digest), **members(result)})
    else:
        run.output.listing(list(_findings(result)), _FINDING_COLUMNS, as_json=as_json, as_lines=as_lines)
    checked_text = f"{count_text(result.file_count, 'file')}, {size_text(result.total_size)}"
    verdict = "intact" if result.intact else "damaged"
    run.note(f"{verdict}: {checked_text}, manifest {digest}")
    if not result.intact:
        raise typer.Exit(FINDINGS)


def _findings(result: CheckResult) -> Iterator[Finding]:
    for kind, paths in (
        ("CHANGED", result.changed),
        ("MISSING", result.missing),
        ("UNLISTED", result.unlisted),
    ):
        for path in paths:
            yield Finding(kind, path)


def _kit_manifest(directory: str) -> str:
    """The manifest in the auditor's kit of an export."""
    from artifactstore.check import AUDIT_DIRECTORY

    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        message = f"cannot check {printable(directory)}: {error.strerror}"
        raise InvalidInputError(message, hint="name a directory") from error
    kits = [
        path
        for path in (os.path.join(directory, name, "manifest.cbor") for name in names)
        if os.path.basename(os.path.dirname(path)).startswith(AUDIT_DIRECTORY) and os.path.isfile(path)
    ]
    if len(kits) != 1:
        found = "no auditor's kit" if not kits else f"{len(kits)} auditor's kits"
        raise InvalidInputError(
            f"{printable(directory)} holds {found}",
            hint="name the manifest of the package with --manifest FILE",
            code="usage",
        )
    return kits[0]


def _manifest_bytes(path: str) -> bytes:
    from artifactstore.check import read_manifest

    data = read_manifest(path)
    if data.startswith(b"{"):
        raise InvalidInputError(
            f"{printable(path)} is JSON", hint="check against the CBOR manifest, manifest.cbor"
        )
    return data


class _AnswerStream(io.RawIOBase):
    """Stdout as a stream that a tar is written to."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def writable(self) -> bool:
        """Always true."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it."""
        with memoryview(data) as view:
            self._output.data(bytes(view))
            return view.nbytes
