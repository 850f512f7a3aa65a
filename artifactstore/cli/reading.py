"""Commands that read a store: `list`, `show`, `files`, `find`, `cat`, `manifest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from artifactstore.cli import facts, life_facts, options
from artifactstore.cli.metadata import pairs
from artifactstore.cli.newfile import STANDARD_OUTPUT
from artifactstore.cli.text import for_json_on_terminal
from artifactstore.errors import InvalidInputError
from artifactstore.facts import package_document, plain
from artifactstore.moment import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactstore.any_store import AnyStore
    from artifactstore.model import File, Package, Page

ItemT = TypeVar("ItemT")

_BLOCK = 1 << 20  # bytes written at once
_AT_ONCE = 1000  # items of one page


def list_packages(
    context: options.Context,
    producer: Annotated[str | None, typer.Option(metavar="TEXT", help="Only of this tool.")] = None,
    subject: Annotated[str | None, typer.Option(metavar="TEXT", help="Only about this.")] = None,
    retention_class: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Only of this retention class.")
    ] = None,
    status: Annotated[
        Literal["open", "finalized", "garbage_collected"] | None,
        typer.Option(help="Only in this state; those that are collected are listed only so."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Only with this name.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only with this entry; a.b is b inside a; repeatable."),
    ] = None,
    created_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only younger ones: 2026-11-22 or RFC 3339.")
    ] = None,
    created_before: Annotated[str | None, typer.Option(metavar="TIME", help="Only older ones.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="At most so many, up to 1000.")] = 50,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on where an earlier list ended.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """List packages, newest first."""
    run = options.invocation(context)
    after = None if created_after is None else parse_moment(created_after)
    before = None if created_before is None else parse_moment(created_before)
    wanted = pairs(metadata)

    with run.store() as store:

        def page_from(start: str | None) -> Page[Package]:
            return store.list_packages(
                producer=producer,
                subject=subject,
                retention_class=retention_class,
                status=status,
                name=name,
                created_after=after,
                created_before=before,
                metadata=wanted,
                limit=_AT_ONCE if everything else limit,
                cursor=start,
            )

        if everything:
            packages, more = _all_items(page_from, cursor), None
        else:
            page = page_from(cursor)
            packages, more = iter(page.items), page.next_cursor
        if as_json and not as_lines:
            run.output.document({"items": plain(list(packages)), "next_cursor": more})
            return
        run.output.listing(packages, facts.PACKAGE_COLUMNS, as_json=as_json, as_lines=as_lines)
    if more is not None:
        run.note(f"there are more: --cursor {more}, or --all")


def show(
    context: options.Context,
    package: options.PackageId,
    tree: Annotated[bool, typer.Option("--tree", help="Also draw the tree of its files.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show a package: who made it, its digests, how long it is kept and why, when its bytes were checked.

    Of a package that is collected it tells why, when and by whom.
    """
    run = options.invocation(context)
    if tree and as_json:
        raise InvalidInputError(
            "--tree and --json exclude each other",
            hint="`artifactstore files --json` lists the files",
            code="usage",
        )
    with run.store() as store:
        found = store.get_package(package)
        explained = store.explain_retention(found.package_id)
        checked = store.verification(found.package_id)
        if as_json:
            run.output.document(package_document(found, explained, checked))
            return
        run.output.record(
            [
                *facts.record_of(found),
                *life_facts.retention_facts(explained),
                *life_facts.verification_facts(checked),
            ]
        )
        if tree:
            from artifactstore.cli.tree import tree_lines

            run.output.line("")
            for line in tree_lines(found, _files(store, found.package_id)):
                run.output.line(line)


def files(
    context: options.Context,
    package: options.PackageId,
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """List the files of a package, sorted by path."""
    run = options.invocation(context)
    with run.store() as store:
        found = store.get_package(package)
        run.output.listing(
            _files(store, found.package_id), facts.FILE_COLUMNS, as_json=as_json, as_lines=as_lines
        )


def find(
    context: options.Context,
    digest: Annotated[
        str, typer.Argument(metavar="DIGEST", help="blake3:<hex>, sha256:<hex> or hex, or a unique prefix.")
    ],
    as_json: options.Json = False,
    as_lines: options.Jsonl = False,
) -> None:
    """Find all packages and paths that hold the bytes with a digest."""
    run = options.invocation(context)
    with run.store() as store:
        hits = store.find_object(digest)
    run.output.listing(hits, facts.HIT_COLUMNS, as_json=as_json, as_lines=as_lines)


def cat(
    context: options.Context,
    package: options.PackageId,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Name of the file in the package.")],
) -> None:
    """Write a file to stdout, checked against its digest on the way."""
    run = options.invocation(context)
    with run.store() as store, store.open_file(package, path) as stream:
        while data := stream.read(_BLOCK):
            run.output.data(data)


def manifest(
    context: options.Context,
    package: options.PackageId,
    form: Annotated[
        Literal["json", "cbor"], typer.Option("--format", help="The JSON projection, or the very bytes.")
    ] = "json",
    output: options.OutputFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Write the manifest of a finalized package."""
    run = options.invocation(context)
    if as_json and form == "cbor":
        raise InvalidInputError("--json and --format cbor exclude each other", code="usage")
    if output == STANDARD_OUTPUT:
        output = None
    if output is None and form == "cbor":
        run.output.refuse_terminal()
    with run.store() as store:
        data = store.get_manifest_bytes(package, format=form)
    if output is not None:
        with run.new_file(output) as stream:
            stream.write(data)
    elif run.output.terminal:
        run.output.data(for_json_on_terminal(data.decode()).encode())
    else:
        run.output.data(data)


def _files(store: AnyStore, package: str) -> Iterator[File]:
    return _all_items(lambda start: store.list_files(package, limit=_AT_ONCE, cursor=start), None)


def _all_items(page_from: Callable[[str | None], Page[ItemT]], start: str | None) -> Iterator[ItemT]:
    """The items of all pages, one page in memory at a time."""
    while True:
        page = page_from(start)
        yield from page.items
        if page.next_cursor is None:
            return
        start = page.next_cursor
