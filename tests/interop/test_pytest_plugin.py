"""`pytest --artifactstore`, with real runs of pytest in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from docs.isolation import isolated_environment
from store.harness import Home, refused, write_tree

from artifactstore import InvalidInputError
from artifactstore.interop.pytest_evidence import Evidence, make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from artifactstore import Package

SUITE = {
    "pytest.ini": b"[pytest]\nfilterwarnings = error\n",
    "test_login.py": b"""
import pytest

def test_page(evidence):
    print("the page was shown")
    evidence.write("page.html", "<p>hello</p>")

@pytest.mark.parametrize("name", ["plain", "with space/and slash", "\\u00e9"])
def test_names(evidence, name):
    evidence.write("name.txt", name)

def test_broken(evidence, tmp_path):
    (tmp_path / "shot.png").write_bytes(b"\\x89PNG")
    evidence.add(tmp_path / "shot.png")
    print("about to fail")
    assert 1 == 2

@pytest.mark.skip
def test_skipped(): ...

@pytest.mark.xfail
def test_expected(): assert False

@pytest.fixture
def broken(): raise RuntimeError("no fixture")

def test_error(broken): ...
""",
}
COUNTS = {"passed": 4, "failed": 1, "skipped": 1, "error": 1, "xfailed": 1, "xpassed": 0}


@dataclass(frozen=True)
class Suite:
    """A small suite of its own, and the store that its evidence goes to."""

    folder: Path
    home: Home

    def run(self, *arguments: str, code: int = 1, alone: bool = False) -> str:
        """What a run of it prints.

        Args:
            alone: without the plugins of others.
        """
        environment = isolated_environment(self.folder.parent / "user")
        if alone:
            environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            arguments = ("-p", "artifactstore.pytest_plugin", *arguments)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def record(self, *arguments: str, code: int = 1) -> str:
        """What a run prints that is to be recorded."""
        return self.run("--artifactstore", "--artifactstore-root", str(self.home.root), *arguments, code=code)

    def packages(self) -> list[Package]:
        """What was stored."""
        with self.home.open() as store:
            return list(store.list_packages().items)

    def files(self) -> dict[str, bytes]:
        """The files of the one package."""
        (package,) = self.packages()
        with self.home.open() as store:
            paths = [file.relative_path for file in store.list_files(package.package_id).items]
            return {path: store.read_file(package.package_id, path) for path in paths}


@pytest.fixture
def suite(tmp_path: Path, home: Home) -> Suite:
    """A suite in which every outcome occurs."""
    return Suite(write_tree(tmp_path / "shop", SUITE), home)


def outcomes(told: str) -> str:
    """The last line of a run, without its time."""
    return told.splitlines()[-1].rpartition(" in ")[0]


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_a_run_becomes_one_package(suite: Suite, workers: tuple[str, ...]) -> None:
    plain = suite.run(*workers)
    told = suite.record(*workers, "--artifactstore-subject", "shop-1.4")
    assert outcomes(told).strip("= ") == outcomes(plain).strip("= ")
    (package,) = suite.packages()
    assert f"package {package.package_id}, " in told
    assert (package.producer, package.subject, package.name) == ("pytest", "shop-1.4", "shop")
    said = package.metadata["pytest"]
    assert said["outcomes"] == COUNTS
    assert said["failed"] == ["test_login.py::test_broken", "test_login.py::test_error"] or workers
    assert sorted(said["failed"]) == ["test_login.py::test_broken", "test_login.py::test_error"]
    assert said["exit_status"] == 1
    files = suite.files()
    assert files["evidence/test_login.py/test_page/page.html"] == b"<p>hello</p>"
    assert files["evidence/test_login.py/test_broken/shot.png"] == b"\x89PNG"
    names = [data.decode() for path, data in files.items() if path.endswith("/name.txt")]
    assert sorted(names) == ["plain", "with space/and slash", "é"]
    assert set(files) - {path for path in files if path.startswith("evidence/")} == {
        "junit.xml",
        "captured.log",
    }
    captured = files["captured.log"].decode()
    assert "==== test_login.py::test_page: Captured stdout call\nthe page was shown\n" in captured
    assert captured.count("about to fail") == 1
    (report,) = ET.fromstring(files["junit.xml"])  # noqa: S314 - our own
    assert (report.get("tests"), report.get("failures"), report.get("errors")) == ("8", "1", "1")
    assert "generated xml file" not in told


def test_a_report_that_the_user_asked_for_is_stored_and_stays(suite: Suite) -> None:
    told = suite.record("--junit-xml", "mine.xml")
    assert "generated xml file" in told
    assert suite.files()["junit.xml"] == (suite.folder / "mine.xml").read_bytes()


def test_without_the_option_nothing_is_stored_and_the_fixture_works(suite: Suite) -> None:
    suite.run()
    assert not suite.home.root.exists()
    assert not list((suite.folder.parent / "user").iterdir())
    others = {"__pycache__", ".hypothesis"}
    assert sorted({path.name for path in suite.folder.iterdir()} - others) == sorted(SUITE)


def test_a_run_without_the_option_imports_nothing(suite: Suite) -> None:
    heavy = "apsw blake3 cbor2 fsspec jsonschema typer asyncio"
    (suite.folder / "conftest.py").write_text(
        "import sys\n"
        "def pytest_unconfigure():\n"
        f"    loaded = [name for name in {heavy.split()} if name in sys.modules]\n"
        "    ours = sorted(name for name in sys.modules if name.startswith('artifactstore'))\n"
        "    print('loaded:', loaded, ours)\n"
    )
    # Plugins of others that the tests need import some of it themselves.
    told = suite.run("-k", "test_expected", code=0, alone=True)
    ours = ["", ".errors", ".hidden_text", ".interop", ".interop.pytest_evidence", ".paths", ".pytest_plugin"]
    ours.append(".version")
    assert f"loaded: [] {[f'artifactstore{name}' for name in ours]}" in told


def test_a_program_that_has_imported_us_can_run_pytest(suite: Suite) -> None:
    program = (
        "import artifactstore, pytest; raise SystemExit(pytest.main(['-qk', 'test_page', '-W', 'error']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=suite.folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_environment_names_the_store(suite: Suite) -> None:
    told = suite.run("--artifactstore", "-k", "test_page", code=0)
    assert "package " in told
    assert (suite.folder.parent / "user/data/artifactstore/artifactstore.db").is_file()


@pytest.mark.parametrize(
    "arguments", [("--collect-only",), ("-k", "nothing"), ("--fixtures",), ("--markers",), ("--help",)]
)
def test_a_run_without_tests_stores_nothing(suite: Suite, arguments: tuple[str, ...]) -> None:
    suite.record(*arguments, code=5 if arguments[0] == "-k" else 0)
    assert not suite.home.root.exists()


def test_a_collection_that_fails_is_evidence_too(suite: Suite) -> None:
    (suite.folder / "test_syntax.py").write_text("def (")
    suite.record(code=2)
    assert suite.packages()[0].metadata["pytest"]["exit_status"] == 2
    assert b"test_syntax" in suite.files()["junit.xml"]


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "xdist"])
def test_a_store_that_fails_changes_no_result(suite: Suite, workers: tuple[str, ...]) -> None:
    suite.home.root.write_text("a file where the store should be")
    told = suite.record(*workers)
    assert "nothing was stored: " in told
    assert outcomes(told).strip("= ") == "1 failed, 4 passed, 1 skipped, 1 xfailed, 1 error"


RUNS_AGAIN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    # As plugins do that run a failed test again.
    for attempt in (1, 2):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        again = attempt == 1 and any(report.failed for report in reports)
        for report in reports:
            if again and report.failed:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        if not again:
            break
    return True
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "xdist"])
def test_tests_that_run_again_are_counted(suite: Suite, workers: tuple[str, ...]) -> None:
    (suite.folder / "conftest.py").write_text(RUNS_AGAIN)
    suite.record(*workers)
    (package,) = suite.packages()
    assert package.metadata["pytest"]["outcomes"] == {**COUNTS, "rerun": 2}
    assert package.metadata["pytest"]["failed"] == ["test_login.py::test_broken", "test_login.py::test_error"]
    assert {
        "evidence/test_login.py/test_broken/shot.png",
        "evidence/test_login.py/test_broken.2/shot.png",
    } < set(suite.files())


def test_a_report_that_cannot_be_noted_costs_no_other(suite: Suite) -> None:
    (suite.folder / "conftest.py").write_text(
        "import pytest\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtest_makereport(item):\n"
        "    report = yield\n"
        "    if item.name == 'test_page':\n"
        "        report.sections.append(('from a plugin', None))\n"
        "    return report\n"
    )
    told = suite.record()
    assert "1 report was not noted: 'NoneType' object has no attribute 'rstrip'" in told
    (package,) = suite.packages()
    assert f"package {package.package_id}, " in told
    assert package.metadata["pytest"]["outcomes"] == COUNTS
    assert package.metadata["pytest"]["reports_not_noted"] == 1
    files = suite.files()
    assert files["evidence/test_login.py/test_page/page.html"] == b"<p>hello</p>"
    assert b"about to fail" in files["captured.log"]


def test_a_wrong_class_is_told_and_changes_no_result(suite: Suite) -> None:
    told = suite.record("--artifactstore-retention-class", "for-lunch", "-k", "test_page", code=0)
    assert "nothing was stored: " in told
    assert "for-lunch" in told
    assert "hint: " in told


def test_a_recording_that_cannot_begin_changes_no_result(suite: Suite) -> None:
    (suite.folder / "conftest.py").write_text(
        "import sys\nsys.modules['blake3'] = None  # an installation that is broken\n"
    )
    told = suite.record("-k", "test_page", code=0)
    assert "nothing was stored: " in told
    assert outcomes(told).strip("= ") == "1 passed, 7 deselected"


def test_what_cannot_be_stored_is_left_out_and_told(suite: Suite) -> None:
    (suite.folder / "test_odd.py").write_text(
        "import os\n"
        "def test_link(evidence):\n"
        "    (evidence.directory / 'link').symlink_to('/etc/passwd')\n"
        "    os.mkfifo(evidence.directory / 'pipe')\n"
        "    evidence.write('kept', 'kept')\n"
    )
    told = suite.record("test_odd.py", code=0)
    assert "skipped: evidence/test_odd.py/test_link/link: " in told
    assert "skipped: evidence/test_odd.py/test_link/pipe: " in told
    assert suite.files()["evidence/test_odd.py/test_link/kept"] == b"kept"


def test_a_test_that_runs_again_gets_a_new_folder(tmp_path: Path) -> None:
    first = make_folder(tmp_path, "tests/test_a.py::TestB::test_c[1/2]")
    again = make_folder(tmp_path, "tests/test_a.py::TestB::test_c[1/2]")
    assert first != again
    assert again.name == f"{first.name}.2"
    assert first.parent == tmp_path / "evidence/tests/test_a.py"


def test_names_that_differ_stay_different(tmp_path: Path) -> None:
    tests = [
        "a.py::t[é]",
        "a.py::t[è]",
        "a.py::t[a b]",
        "a.py::t[a-b]",
        f"a.py::t[{'x' * 300}]",
        "../../b.py::t",
    ]
    folders = [make_folder(tmp_path, test) for test in tests]
    assert len(set(folders)) == len(tests)
    assert all(folder.resolve().is_relative_to(tmp_path / "evidence") for folder in folders)


def test_names_of_evidence_stay_in_the_folder_of_the_test(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "mine")
    evidence.directory.mkdir()
    for name in ("../other", "/etc/passwd", "", "a//b"):
        with refused(InvalidInputError, "invalid-relative-path"):
            evidence.write(name, "x")
    assert evidence.write("a/b.txt", "text").read_text() == "text"
    with pytest.raises(FileExistsError, match="already"):
        evidence.write("a/b.txt", "other")
    write_tree(tmp_path / "many", {"one": b"1", "two/three": b"3"})
    evidence.add(tmp_path / "many")
    assert (evidence.directory / "many/two/three").read_bytes() == b"3"
    evidence.add(tmp_path / "many/one", "renamed")
    assert (evidence.directory / "renamed").read_bytes() == b"1"
