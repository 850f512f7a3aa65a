"""Fuzzing led by the lines that an input reaches: `python -m abuse.coverage_guided --seconds 60 [DOOR ...]`.

Run in the folder `tests`, or by `make fuzz`. It needs atheris, of the extra `fuzz`, which exists for
Python 3.11 and 3.12. Each door is tried in a process of its own; an input that fails is printed, and belongs
into `fuzz_cases.py`. Inputs that take longer than 20 seconds or 2 GiB fail too.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from abuse.fuzzing import Door

IS_HERE = importlib.util.find_spec("atheris") is not None
MISSING = "atheris is not installed: pip install '.[fuzz]' on Python 3.11 or 3.12"
SEEDS = 300  # inputs that a run begins with
_LIMITS = ("-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1")
_FAILED = b"INPUT OF THE FAILURE: "


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def readers() -> dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]]:
    """By the name of a door: how bytes become its input, and how its input becomes bytes."""
    from abuse.fuzz_documents import CBOR_DOORS, PATH_DOORS
    from abuse.fuzz_texts import JSON_DOORS, QUESTIONS, SETTING_NAMES, TEXT_DOORS

    def chosen(names: list[str]) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
        def read(data: bytes) -> tuple[str, str]:
            return names[data[0] % len(names)] if data else names[0], _text(data[1:])

        return read, lambda value: bytes([names.index(value[0])]) + _bytes(value[1])

    found: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {}
    for door in (*CBOR_DOORS, *JSON_DOORS):
        found[door.name] = (lambda data: data, lambda value: value)
    for door in (*PATH_DOORS, *TEXT_DOORS):
        found[door.name] = (_text, _bytes)
    found["setting"] = chosen(SETTING_NAMES)
    found["question"] = chosen(list(QUESTIONS))
    del found["secret in a URL"]  # an input of its own making: chance may move the secret to where it is none
    return found


def all_doors() -> dict[str, Door]:
    """The doors by their names."""
    from abuse.fuzz_documents import CBOR_DOORS, PATH_DOORS
    from abuse.fuzz_texts import JSON_DOORS, TEXT_DOORS

    return {door.name: door for door in (*CBOR_DOORS, *PATH_DOORS, *JSON_DOORS, *TEXT_DOORS)}


def fuzz(name: str, corpus: str, seconds: int) -> None:
    """Try one door until the time is over; never returns."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with atheris.instrument_imports(include=["artifactstore"]):
        door = all_doors()[name]
    from format.auditor import load_verify

    from abuse.fuzzing import knock

    _instrument(load_verify(), atheris.instrument_func)
    read, write = readers()[name]
    chance = random.Random(name)
    for number in range(SEEDS):
        Path(corpus, f"seed-{number}").write_bytes(write(door.make(chance)))

    def one_input(data: bytes) -> None:
        value = read(data)
        try:
            knock(door, value)
        except BaseException:
            os.write(2, _FAILED + ascii(value).encode() + b"\n")
            raise

    arguments = [sys.argv[0], corpus, f"-max_total_time={seconds}", f"-artifact_prefix={corpus}/", *_LIMITS]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


def _instrument(module: ModuleType, instrument: Callable[[Any], Any]) -> None:
    """What was loaded from its file, past the import system."""
    for name, value in list(vars(module).items()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            for inner, method in list(vars(value).items()):
                if callable(method) and hasattr(method, "__code__"):
                    setattr(value, inner, instrument(method))
        elif hasattr(value, "__code__"):
            setattr(module, name, instrument(value))


def run(name: str, seconds: int) -> tuple[int, str | None]:
    """Try one door in a process of its own.

    Returns:
        How many inputs were tried, and what failed, or None.
    """
    command = [sys.executable, "-m", "abuse.coverage_guided", "--one", name, "--seconds", str(seconds)]
    with tempfile.TemporaryDirectory() as corpus:
        done = subprocess.run(
            [*command, "--corpus", corpus],
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "TMPDIR": corpus},
            capture_output=True,
            check=False,
        )
    said = done.stderr.decode("utf-8", "backslashreplace")
    tried = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    failure = None
    if done.returncode != 0:
        # Without the progress of the fuzzer, which has hundreds of lines that begin so.
        lines = [line for line in said.splitlines() if not re.match("#[0-9]|INFO:", line)]
        failure = "\n".join(["FAILED", *lines[-40:], done.stdout.decode("utf-8", "backslashreplace")[-4000:]])
    return int(tried[1]) if tried else 0, failure


def main() -> int:
    """Try doors one after the other and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("doors", metavar="DOOR", nargs="*", help="which; all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each door (%(default)s)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not IS_HERE:
        parser.error(MISSING)
    if options.one:
        fuzz(options.one, options.corpus, options.seconds)
    failures = 0
    for name in options.doors or readers():
        tried, failure = run(name, options.seconds)
        failures += failure is not None
        sys.stdout.write(f"{name}: {tried:,} inputs, {failure or 'nothing found'}\n")
        sys.stdout.flush()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
