"""The pytest plugin: `pytest --artifactstore` keeps the evidence of a run, the fixture `evidence` adds to it.

pytest loads this module in every run of an environment where the package is installed, so it costs
next to nothing. What a run with `--artifactstore` does stands in `artifactstore.interop.pytest_run`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from artifactstore.interop.pytest_evidence import STAGING, STAGING_FOR_WORKERS, Evidence, make_folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("artifactstore", "evidence of the run")
    group.addoption(
        "--artifactstore",
        action="store_true",
        help="store JUnit XML, captured output and the files of the fixture `evidence` as one package",
    )
    group.addoption(
        "--artifactstore-subject",
        metavar="TEXT",
        help="what the run is about (default: the name of the root directory)",
    )
    group.addoption(
        "--artifactstore-retention-class",
        metavar="CLASS",
        default="raw-evidence",
        help="decides how long the package is kept (default: raw-evidence)",
    )
    group.addoption(
        "--artifactstore-root",
        metavar="DIR",
        help="directory of the store (default: the one that the ARTIFACTSTORE_ variables name)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Record the run if that was asked for; workers of xdist only collect files."""
    if hasattr(config, "workerinput"):
        staging = config.workerinput.get(STAGING_FOR_WORKERS)
        if staging is not None:
            config.stash[STAGING] = Path(staging)
    elif config.getoption("--artifactstore") and not config.getoption("--collect-only"):
        try:
            from artifactstore.interop.pytest_run import RunRecorder

            config.pluginmanager.register(RunRecorder(config), "artifactstore-run")
        except Exception as error:  # noqa: BLE001 - nothing of ours may end a test run
            config.pluginmanager.register(_NotRecorded(error))


class _NotRecorded:
    """Stands for a recording that could not begin."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why."""
        terminalreporter.section("artifactstore")
        terminalreporter.line(f"nothing was stored: {self._error}")


@pytest.fixture
def evidence(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Hands over files of a test: `evidence.add(path)`, `evidence.write("page.html", text)`.

    They are stored if the run was started with `--artifactstore`; else they go where temporary files go.
    """
    staging = request.config.stash.get(STAGING, None)
    if staging is None:
        return Evidence(tmp_path_factory.mktemp("evidence"))
    return Evidence(make_folder(staging, request.node.nodeid))
