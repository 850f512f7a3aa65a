"""Programs that the tests run beside them, as `python -m store.worker NAME ROOT ...`; the answer is JSON.

Each waits for a line on its standard input before it does what may collide with others.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from store.harness import SAID, Home, just_before, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore import Store

THREADS = 8
ROUNDS = 3


def wait() -> None:
    """Say that all is prepared, and wait for the start."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def answer(value: object) -> None:
    """Print the answer."""
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def write(root: str, label: str) -> None:
    """Eight threads that push and build packages through one store; answers with what was acknowledged."""
    trees = Path(f"{root}-{label}")
    home = Home(Path(root))

    def run(store: Store, thread: int) -> list[tuple[str, dict[str, str]]]:
        acknowledged = []
        for number in range(ROUNDS):
            files = {"own": f"{label}/{thread}/{number}", "shared": "the same everywhere"}
            tree = write_tree(
                trees / f"{thread}-{number}", {path: text.encode() for path, text in files.items()}
            )
            acknowledged.append((store.push(tree, **SAID).package.package_id, files))
            package = store.create_package(**SAID)
            for path, text in files.items():
                store.ingest_file(package, path, text.encode(), actor="ada")
            store.finalize_package(package, actor="ada")
            acknowledged.append((package, files))
        return acknowledged

    with home.open() as store, ThreadPoolExecutor(THREADS) as pool:
        wait()
        parts = list(pool.map(lambda thread: run(store, thread), range(THREADS)))
    answer([entry for part in parts for entry in part])


def create(root: str) -> None:
    """Open a store that is not there yet; answers with its id."""
    wait()
    with Home(Path(root)).open() as store:
        answer(str(store.store_id))


def push(root: str, tree: str, if_changed: str) -> None:
    """Push a tree; answers with the package and how many objects were new."""
    with Home(Path(root)).open() as store:
        wait()
        result = store.push(tree, **SAID, if_changed=bool(if_changed))
        answer([result.package.package_id, result.unchanged])


def read(root: str, package: str) -> None:
    """Ask the same questions again and again until the input ends; answers with the different answers."""
    seen = set()
    with Home(Path(root)).open(create=False) as store:
        wait()
        for _ in range(300):
            page = store.list_files(package)
            facts = [len(store.list_packages().items), len(page.items), store.get_package(package).file_count]
            facts.append(len(store.read_file(package, page.items[0].relative_path)))
            seen.add((store.health().status, *facts))
    answer(sorted(seen))


def fork(root: str, order: str) -> None:
    """Write in a parent and in its child with a store that was open before the fork.

    Args:
        order: `together`, or `parent-closes`: then the child goes on after its parent has closed the store.
    """
    home = Home(Path(root))
    store = home.open()
    acknowledged = [store.create_package(**SAID, metadata={"by": "parent before"})]
    store.list_packages()
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    child = os.fork()
    mine, other, name = (to_child, from_child, "child") if child == 0 else (to_parent, from_parent, "parent")
    for end in {to_child, from_child, to_parent, from_parent} - {mine, other}:
        os.close(end)
    incoming = os.fdopen(mine, "rb")

    def write_some() -> list[str]:
        return [store.create_package(**SAID, metadata={"by": name}) for _ in range(10)]

    def tell(ids: list[str]) -> None:
        os.write(other, json.dumps(ids).encode() + b"\n")

    def hear() -> list[str]:
        ids: list[str] = json.loads(incoming.readline())
        return ids

    if child == 0:
        written = write_some()
        tell(written)
        if order == "parent-closes":
            hear()
        written += write_some()
        if order == "parent-closes":
            store.close()
        tell(written)
        os._exit(0)
    if order == "together":
        acknowledged += write_some() + hear()
        acknowledged += hear()[10:]
    else:
        acknowledged += hear() + write_some()
        store.close()
        tell([])
        acknowledged += hear()[10:]
    os.waitpid(child, 0)
    store.close()
    answer(acknowledged)


def fork_busily(root: str) -> None:
    """Fork again and again while other threads write; parent and children write through the same store."""
    stop = threading.Event()
    receiver, sender = os.pipe()
    with Home(Path(root)).open() as store:

        def write_until_stopped() -> list[str]:
            ids = [store.create_package(**SAID)]
            while not stop.is_set():
                ids.append(store.create_package(**SAID))
                store.list_packages(limit=3)
            return ids

        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write_until_stopped) for _ in range(4)]
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    for _ in range(3):
                        os.write(sender, store.create_package(**SAID).encode() + b"\n")
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
            stop.set()
            acknowledged = [package for writer in writers for package in writer.result()]
    os.close(sender)
    with os.fdopen(receiver) as stream:
        acknowledged += stream.read().split()
    answer(acknowledged)


def die(root: str, tree: str, module: str, function: str) -> None:
    """Push a tree and be killed right before the first call of a built-in function."""
    called: Callable[..., object] = getattr(sys.modules[module], function)
    end = signal.SIGKILL
    with Home(Path(root)).open() as store, just_before(called, lambda: os.kill(os.getpid(), end)):
        store.push(tree, **SAID)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
