"""Processes that the tests drive step by step, as `python -m lifecycle.worker CALL ROOT NOW [TREE]`.

Before and after each step that matters the process says where it stands and waits for a line. The steps are
the real ones; only the moment is chosen.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.harness import SAID, FakeClock, Home

from artifactstore.database import Database
from artifactstore.errors import BackendError
from artifactstore.objects.local import LocalBackend, LocalBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artifactstore import Store
    from artifactstore.database import Connection


def stop(step: str) -> None:
    """Say where this process stands and wait until it may go on."""
    print(step, flush=True)  # noqa: T201 - the answer of this program
    sys.stdin.readline()


def stepping() -> None:
    """Make this process stop around each step."""
    write = Database.write

    @contextlib.contextmanager
    def writing(database: Database) -> Iterator[Connection]:
        stop("begin")
        with write(database) as connection:
            yield connection
            stop("commit")
        stop("committed")

    def around(owner: type, name: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)

        def stopped(*arguments: Any) -> Any:
            stop(name)
            result = call(*arguments)
            stop(f"{name} done")
            return result

        setattr(owner, name, stopped)

    Database.write = writing  # type: ignore[assignment, method-assign]  # this process is a drill
    around(LocalBackend, "remove")
    around(LocalBatch, "publish")


def push(store: Store, tree: str) -> None:
    """Push what will be kept."""
    store.push(tree, **{**SAID, "retention_class": "permanent-record"})


def main(call: str, root: str, now: str, tree: str = "", steps: str = "steps") -> None:
    """Run one call of the store."""
    with Home(Path(root)).open(clock=FakeClock(int(now)), create=False) as store:
        if steps == "steps":
            stepping()
        if call == "gc":
            store.gc(actor="gc")
        elif call == "verify":
            store.verify(actor="scrub")
        elif call == "push":
            try:
                push(store, tree)
            except BackendError as error:
                # A gc took an object that the push had found; the error says that it may be tried again.
                if not error.retryable:
                    raise
                push(store, tree)
        elif call == "ingest_file":
            package = store.create_package(**{**SAID, "retention_class": "permanent-record"})
            store.ingest_file(package, "data", Path(tree) / "data", actor="ada")
            store.finalize_package(package, actor="ada")
    print("done", flush=True)  # noqa: T201 - the answer of this program


if __name__ == "__main__":
    main(*sys.argv[1:])
