"""Shows what artifactstore does, with its real commands: `python examples/demo.py STORE_DIR [DIR...]`.

Pushes each DIR (default: the packages `json` and `unittest` of the running Python, in place) into a store in
STORE_DIR, shows the packages, exports and checks them, and pushes them again. May be run any number of times.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

STORE = {"ARTIFACTSTORE_DATABASE_URL": "artifactstore.db", "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": "storage"}
LINE = 100  # characters; a longer command is shown on several lines


def main(arguments: list[str]) -> int:
    """Run the demonstration; the exit code is that of the first command that fails."""
    if not arguments:
        print("usage: demo.py STORE_DIR [DIR...]", file=sys.stderr)
        return 2
    store = Path(arguments[0])
    library = Path(sysconfig.get_path("stdlib"))
    directories = [Path(name).resolve() for name in arguments[1:]] or [library / "json", library / "unittest"]
    try:
        demonstrate(store, directories)
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


def demonstrate(store: Path, directories: list[Path]) -> None:
    """Tell the story of each directory from its push to its check, then push all of them again."""
    store.mkdir(parents=True, exist_ok=True)
    setting = " ".join(f"{name}={value}" for name, value in STORE.items())
    print("A store of evidence: one database file and one directory of objects.\n")
    print(f"$ cd {shlex.quote(os.fspath(store))}")
    print(f"$ export {setting}")
    os.chdir(store)
    show("artifactstore", "init")
    for directory in directories:
        tell(directory)
    title("The same directories once more: new packages, and no byte is stored twice")
    for directory in directories:
        show("artifactstore", *push(directory))
    show("artifactstore", "replay", "--check")
    show("artifactstore", "health")


def tell(directory: Path) -> None:
    """Push one directory, show the package, take it out again and check it."""
    title(f"{directory.name}: put it in")
    show("artifactstore", *push(directory))
    package = newest_package()
    title(f"{directory.name}: what is known about it")
    show("artifactstore", "show", "--tree", package)
    title(f"{directory.name}: take it out and check it, with the store and without")
    export = f"exports/{package}"
    show("artifactstore", "export", package, export)
    show("artifactstore", "check", export)
    show("python3", os.fspath(next(Path(export).glob("ARTIFACTSTORE-AUDIT*/verify.py"))))


def push(directory: Path) -> list[str]:
    """The command that stores a directory; compiled files are no evidence."""
    said = {"producer": "demo", "subject": directory.name, "retention-class": "summary-evidence"}
    said |= {"metadata": "purpose=demonstration", "exclude": "__pycache__"}
    return ["push", os.fspath(directory), *(text for name in said for text in (f"--{name}", said[name]))]


def newest_package() -> str:
    """The id of the package that was pushed last."""
    command = [*program("artifactstore"), "list", "--producer", "demo", "--limit", "1", "--json"]
    answer = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    package: str = json.loads(answer.stdout)["items"][0]["package_id"]
    return package


def title(text: str) -> None:
    """Begin a part of the story."""
    print(f"\n\n== {text}")


def show(*command: str) -> None:
    """Print a command line and what the command prints on a terminal, also if we write to a file or a pipe.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    before_option = " " if len(shlex.join(command)) <= LINE else " \\\n    "
    words = ((before_option if word.startswith("--") else " ") + shlex.quote(word) for word in command)
    print("\n$", "".join(words).strip(), flush=True)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*program(command[0]), *command[1:]],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while output := os.read(ours, 65536):
                sys.stdout.buffer.write(output.replace(b"\r\n", b"\n"))
                sys.stdout.flush()
        os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def program(name: str) -> list[str]:
    """How to start what the story calls `artifactstore` or `python3`: with the running Python."""
    return [sys.executable, "-m", name] if name == "artifactstore" else [sys.executable]


def environment() -> dict[str, str]:
    """The environment of the commands: our store and no other settings, no progress line."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ARTIFACTSTORE_")}
    return {**ours, **STORE, "ARTIFACTSTORE_NO_PROGRESS": "true", "PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `demo.py ... | head` ends quietly
    sys.exit(main(sys.argv[1:]))
