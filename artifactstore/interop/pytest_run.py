"""One run of pytest as one package: JUnit XML, captured output, files that tests handed over.

Whatever goes wrong here is told in the summary of the run; it never changes a test's result or the exit code.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.junitxml import LogXML, xml_key

from artifactstore.app import open_anywhere
from artifactstore.interop.pytest_evidence import STAGING, STAGING_FOR_WORKERS
from artifactstore.moment import format_moment, system_clock
from artifactstore.scan import Selection

if TYPE_CHECKING:
    from artifactstore.codec import Value
    from artifactstore.results import PushResult

PRODUCER = "pytest"
JUNIT = "junit.xml"
CAPTURED = "captured.log"
_NAMED_FAILURES = 100  # failed tests that the metadata name
_PHASE_OUTCOMES = {"passed", "failed", "skipped"}  # what pytest itself says of a phase of a test
_OUTCOMES = ("passed", "failed", "skipped", "error", "xfailed", "xpassed")
_NO_TESTS = (pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.USAGE_ERROR)


class _QuietLogXML(LogXML):
    """pytest's own report, without the line that names its file, which does not stay."""

    def pytest_terminal_summary(self) -> None:  # type: ignore[override]
        """Say nothing."""


class RunRecorder:
    """The hooks of a run that is recorded, in the process that the user started.

    Files are collected in a folder of its own, where pytest writes its JUnit report too.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started_at = system_clock()
        self._outcomes = dict.fromkeys(_OUTCOMES, 0)
        self._failed: list[str] = []
        self._not_noted: list[str] = []  # why reports could not be noted
        self._told: list[str] = []
        self._staging = Path(tempfile.mkdtemp(prefix="artifactstore-pytest-"))
        config.stash[STAGING] = self._staging
        if config.getoption("xmlpath") is None:
            report = _QuietLogXML(
                str(self._staging / JUNIT),
                config.getoption("junitprefix"),
                *(
                    config.getini(f"junit_{name}")
                    for name in ("suite_name", "logging", "duration_report", "family", "log_passing_tests")
                ),
            )
            # As pytest's own: `record_testsuite_property` finds it, and it is unregistered at the end.
            config.stash[xml_key] = report
            config.pluginmanager.register(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        """Tell a worker of xdist where files are collected."""
        node.workerinput[STAGING_FOR_WORKERS] = str(self._staging)  # type: ignore[attr-defined]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count, and keep what was captured; xdist gives the reports of its workers to this process."""
        try:
            self._note(report)
        except Exception as error:  # noqa: BLE001 - one odd report must not cost the evidence of all others
            self._not_noted.append(str(error))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Store the package, after the JUnit report was written; if that fails, the summary says why."""
        try:
            self._store(exitstatus)
        except Exception as error:  # noqa: BLE001 - nothing of ours may end a test run
            self._told.append(f"nothing was stored: {error}")
            hint = getattr(error, "hint", None)
            if hint is not None:
                self._told.append(f"hint: {hint}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which package it is."""
        terminalreporter.section("artifactstore")
        for line in self._told:
            terminalreporter.line(line)

    def pytest_unconfigure(self) -> None:
        """Remove the folder in which files were collected."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def _note(self, report: pytest.TestReport) -> None:
        outcome = _outcome(report)
        if outcome is not None:
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        if outcome in {"failed", "error"}:
            self._failed.append(report.nodeid)
        # Each report has the output of the phases before it, too; that of the last one is complete.
        if report.when == "teardown" and report.sections:
            with open(self._staging / CAPTURED, "a", encoding="utf-8", errors="backslashreplace") as log:
                for title, text in report.sections:
                    log.write(f"==== {report.nodeid}: {title}\n{text.rstrip()}\n")

    def _store(self, exitstatus: int) -> None:
        config, staging = self._config, self._staging
        if exitstatus in _NO_TESTS or (exitstatus == pytest.ExitCode.OK and not any(self._outcomes.values())):
            self._told.append("nothing was stored: no test ran")
            return
        wanted = config.getoption("xmlpath")
        if wanted is not None:
            shutil.copyfile(wanted, staging / JUNIT)
        name = config.rootpath.name or "pytest"
        # One odd file of a test must not cost the evidence of all others; what is left out is noted.
        selection = Selection(symlinks="skip", skip_unsafe=True)
        with open_anywhere(config.getoption("--artifactstore-root")) as store:
            result = store.push(
                staging,
                name=name,
                producer=PRODUCER,
                subject=config.getoption("--artifactstore-subject") or name,
                retention_class=config.getoption("--artifactstore-retention-class"),
                actor=PRODUCER,
                metadata={"pytest": self._description(exitstatus)},
                selection=selection,
            )
        self._told += _summary(result)
        if self._not_noted:
            count = len(self._not_noted)
            reports = "1 report was" if count == 1 else f"{count} reports were"
            self._told.append(f"{reports} not noted: {self._not_noted[0]}")

    def _description(self, exitstatus: int) -> dict[str, Value]:
        failed: list[Value] = [*self._failed[:_NAMED_FAILURES]]
        said: dict[str, Value] = {
            "version": pytest.__version__,
            "exit_status": int(exitstatus),
            "outcomes": dict(self._outcomes),
            "failed": failed,
            "started_at": format_moment(self._started_at),
            "finished_at": format_moment(system_clock()),
        }
        if self._not_noted:
            said["reports_not_noted"] = len(self._not_noted)
        return said


def _outcome(report: pytest.TestReport) -> str | None:
    """What a phase of a test says of the whole test; None for a phase that says nothing."""
    if report.outcome not in _PHASE_OUTCOMES:
        return str(report.outcome)  # a plugin's own, as `rerun` of one that runs failed tests again
    expected = hasattr(report, "wasxfail")
    if report.when == "call":
        if expected:
            return "xfailed" if report.skipped else "xpassed"
        return report.outcome
    if report.failed:
        return "error"
    if report.skipped and report.when == "setup":
        return "xfailed" if expected else "skipped"
    return None


def _summary(result: PushResult) -> list[str]:
    package = result.package
    lines = [f"package {package.package_id}, {package.file_count} files, manifest {package.manifest_digest}"]
    lines += [f"skipped: {file.path}: {file.reason}" for file in result.ingest.skipped]
    return lines
