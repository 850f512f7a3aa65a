"""Commands about the program and the store as a whole."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from artifactstore.cli import facts, options
from artifactstore.cli.columns import Column, Fact
from artifactstore.cli.exit_codes import FAILED, FINDINGS, NO_STORE
from artifactstore.cli.invocation import PROGRAM
from artifactstore.cli.newfile import STANDARD_OUTPUT
from artifactstore.cli.text import size_text
from artifactstore.errors import InvalidInputError
from artifactstore.facts import health_document, members

if TYPE_CHECKING:
    from artifactstore.settings import SettingValue


_SETTING_COLUMNS: tuple[Column[SettingValue], ...] = (
    Column("NAME", lambda value: value.name),
    Column("VALUE", lambda value: value.text),
    Column("ORIGIN", lambda value: value.origin),
)


def version(context: options.Context, as_json: options.Json = False) -> None:
    """Print the version and exit."""
    from artifactstore.version import __version__

    output = options.invocation(context).output
    if as_json:
        output.document({"version": __version__})
    else:
        output.line(__version__)


def init(context: options.Context, as_json: options.Json = False) -> None:
    """Make the store if it is not there, and print its id."""
    from artifactstore.app import configured_database

    run = options.invocation(context)
    settings = run.local_settings()
    with closing(configured_database(settings)) as database:
        created = not database.exists()
    with run.local_store(create=True) as store:
        store_id = str(store.store_id)
    if as_json:
        run.output.document(
            {
                "store_id": store_id,
                "created": created,
                "database": str(settings.database_path),
                "root": str(settings.storage_local_root),
            }
        )
    elif run.brief:
        run.output.line(store_id)
    else:
        run.output.record(
            [
                Fact("store", f"{store_id} ({'made now' if created else 'was here already'})"),
                Fact("database", str(settings.database_path)),
                Fact("objects", str(settings.storage_local_root)),
            ]
        )


def migrate(context: options.Context, as_json: options.Json = False) -> None:
    """Bring the store of an older version to this one.

    The event log is never touched: the views are rebuilt from it, after a backup. If there is no store, it
    is made.
    """
    from artifactstore.app import configured_database
    from artifactstore.moment import system_clock
    from artifactstore.rebuild import migrate

    run = options.invocation(context)
    with closing(configured_database(run.local_settings())) as database:
        if not database.exists():
            run.local_store(create=True).close()
        result = migrate(database, system_clock)
    if as_json:
        run.output.document(result)
        return
    run.output.record(facts.record_of(result))
    if result.version_before == result.version_after:
        run.note("nothing was to be done")


def backup(
    context: options.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file.")],
    as_json: options.Json = False,
) -> None:
    """Write the database into a new file, checked and durable, while others go on.

    The objects are the other half of a backup: copy them after this.
    """
    run = options.invocation(context)
    if file == STANDARD_OUTPUT:
        raise InvalidInputError("a backup cannot go to stdout", hint="name a file", code="usage")
    with run.local_store() as store:
        result = store.backup(file)
    if as_json:
        run.output.document(result)
        return
    run.output.record(
        [
            Fact("path", result.path),
            Fact("size", str(result.size), size_text(result.size)),
            Fact("highest_sequence", str(result.event_count)),
        ]
    )
    run.note(f"now copy the objects: all of {run.local_settings().storage_local_root} but tmp")


def replay(
    context: options.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Rebuild into a scratch database only and change nothing.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Rebuild every view from the event log.

    With --check it exits with 3 if the views are not what the events say.
    """
    from artifactstore.app import configured_database
    from artifactstore.rebuild import replay

    run = options.invocation(context)
    with closing(configured_database(run.local_settings())) as database:
        result = replay(database, check=check)
    if as_json:
        run.output.document(
            {"highest_sequence": result.event_count, "identical": result.identical, **members(result)}
        )
    else:
        run.output.record(
            [
                Fact("highest_sequence", str(result.event_count)),
                Fact("fingerprint_before", result.fingerprint_before),
                Fact("fingerprint_after", result.fingerprint_after),
            ]
        )
    if result.identical:
        return
    if check:
        run.note("the views are not what the events say; `artifactstore replay` rebuilds them")
        raise typer.Exit(FINDINGS)
    run.note("the views were not what the events say; they are now")


def health(
    context: options.Context,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also write a probe into each remote backend and remove it."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The answer is JSON in any case.")] = False,
) -> None:
    """Say whether the store works.

    Changes nothing; with --deep a probe is written and removed.
    Exits with 1 if it is degraded and with 10 if there is none.
    """
    run = options.invocation(context)
    settings = run.settings()
    if settings.api_url is None:
        from artifactstore.app import configured_health

        found = configured_health(settings, deep=deep)
    elif deep:
        raise InvalidInputError("--deep looks at the backends of the local store", code="usage")
    else:
        with run.store() as store:
            found = store.health()
    run.output.document(health_document(found))
    if found.status != "ok":
        here = settings.api_url is None and not settings.database_path.exists()
        raise typer.Exit(NO_STORE if here else FAILED)


def config(context: options.Context, as_json: options.Json = False, as_lines: options.Jsonl = False) -> None:
    """Print every setting, its value and where it came from.

    Secrets are masked.
    """
    run = options.invocation(context)
    values = run.settings().describe()
    run.output.listing(values, _SETTING_COLUMNS, as_json=as_json, as_lines=as_lines)


def completion(
    context: options.Context,
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell to complete in.")],
) -> None:
    """Print the completion script of a shell.

    Use it as in: eval "$(artifactstore completion bash)"
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # it has no __all__

    script = get_completion_script(
        prog_name=PROGRAM, complete_var=f"_{PROGRAM.upper()}_COMPLETE", shell=shell
    )
    for line in script.splitlines():
        options.invocation(context).output.line(line)
