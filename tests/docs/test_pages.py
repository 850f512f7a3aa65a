"""Every Python and console block of the documentation runs, and every link between pages resolves."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from docs.console import Shell, evaluate
from docs.isolation import isolated_environment
from docs.pages import PAGES, PROJECT, anchors, page_name, prose

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser(language="console", evaluator=evaluate)],
    path=str(PROJECT),
)
EVIDENCE = {
    "report.json": b'{"passed": 42, "failed": 0}\n',
    "logs/run.log": b"42 tests passed\n",
}


def has_examples(page: Path) -> bool:
    """Whether a page has a block that can be run."""
    return re.search("^```(?:python|console)$", page.read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.mark.parametrize("page", [page for page in PAGES if has_examples(page)], ids=page_name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    for name, data in EVIDENCE.items():
        file = folder / "results" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    if "examples/" in page.read_text(encoding="utf-8"):
        for name in ("examples", "schemas"):  # the reader is in a checkout
            (folder / name).symlink_to(PROJECT / name)
    environment = isolated_environment(tmp_path / "home")
    for name in [name for name in os.environ if name.startswith("ARTIFACTSTORE_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    document = DOCUMENTS.parse(page)
    with Shell(folder, environment) as shell:
        document.namespace["shell"] = shell
        for example in document.examples():
            example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match("[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [PROJECT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for target in re.findall(r"\]\(([^)\s#:]+\.md)(?:#[^)]*)?\)", prose(page)):
            linked = (page.parent / target).resolve()
            if linked.exists() and linked not in reached:
                waiting.append(linked)
    assert set(PAGES) <= reached


def test_make_targets_exist() -> None:
    targets = set(re.findall("^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall("(?:^|`|&& )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= targets, page_name(page)
