"""The command line in a process of its own that has nothing left to import: a server forks it.

What the program does when it starts is tested in `cli`; here the start would be most of the time.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import sys
import tempfile
from pathlib import Path

from artifactstore import cli

_FILES = ("stdin", "stdout", "stderr")


def run(arguments: list[str], *, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run the program with these arguments; its exit code, stdout and stderr."""
    context = multiprocessing.get_context("forkserver")
    commands = [f"{cli.__name__}.{module.name}" for module in pkgutil.iter_modules(cli.__path__)]
    context.set_forkserver_preload(["artifactstore.store", "artifactstore.client", *commands])
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in _FILES]
        paths[0].write_bytes(stdin)
        process = context.Process(target=_main, args=(arguments, dict(os.environ), os.getcwd(), paths))
        process.start()
        process.join()
        code = process.exitcode
        process.close()
        assert code is not None
        return code, paths[1].read_bytes(), paths[2].read_text()


def _main(arguments: list[str], environment: dict[str, str], folder: str, paths: list[Path]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(paths):
        opened = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.argv = ["artifactstore", *arguments]
    sys.exit(cli.main())
