"""JUnit XML: the totals of a test run and the tests that failed.

There is no standard; this reads what pytest, Maven Surefire, Gradle and most others write: `testsuite`
elements with `testcase` elements, which hold `failure`, `error` or `skipped`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.parsers import expat

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

FAILED_TESTS_MAX = 1000  # names that are kept; a document of any size may have as many as it likes
_DEPTH_MAX = 64
_ID_MAX = 500  # characters
_OUTCOMES = {"failure": "failed", "error": "errors", "skipped": "skipped"}


@dataclass(slots=True)
class TestTotals:
    """How many tests ended how.

    Args:
        failed_tests: ids of those that failed or broke, `class::name`, in the order of the documents; the
            first thousand.
    """

    total: int = 0
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    failed_tests: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """The five numbers."""
        return {
            "total": self.total,
            "passed": self.passed,
            "failed": self.failed,
            "errors": self.errors,
            "skipped": self.skipped,
        }


def read_totals(documents: Iterable[tuple[str, Iterable[bytes]]]) -> TestTotals:
    """The totals of all documents together.

    Args:
        documents: each with a name for errors, in chunks.
    Raises:
        InvalidInputError: one is no JUnit XML.
    """
    totals = TestTotals()
    for name, chunks in documents:
        _Document(name, totals).read(chunks)
    return totals


class _Document:
    """Reads one document, piece by piece; nothing outside it is ever looked at."""

    def __init__(self, name: str, totals: TestTotals) -> None:
        self._name = name
        self._totals = totals
        self._open: list[str] = []
        self._test = ""
        self._outcome = "passed"

    def read(self, chunks: Iterable[bytes]) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        # Entities can blow up a document or name files; no test tool writes them.
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            for chunk in chunks:
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise self._broken(f"it is not XML: {error}") from None

    def _started(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._open and tag not in {"testsuites", "testsuite"}:
            raise self._broken(f"its root is <{tag[:40]}>")
        if len(self._open) >= _DEPTH_MAX:
            raise self._broken(f"it is nested deeper than {_DEPTH_MAX} elements")
        if tag == "testcase":
            if "testcase" in self._open:
                raise self._broken("a test stands in a test")
            if "name" not in attributes:
                raise self._broken("a test has no name")
            classname = attributes.get("classname", "")
            self._test = f"{classname}::{attributes['name']}" if classname else attributes["name"]
            self._outcome = "passed"
        elif tag in _OUTCOMES and self._open[-1] == "testcase" and self._outcome in {"passed", "skipped"}:
            self._outcome = _OUTCOMES[tag]
        self._open.append(tag)

    def _ended(self, tag: str) -> None:
        self._open.pop()
        if tag != "testcase":
            return
        totals = self._totals
        totals.total += 1
        setattr(totals, self._outcome, getattr(totals, self._outcome) + 1)
        if self._outcome in {"failed", "errors"} and len(totals.failed_tests) < FAILED_TESTS_MAX:
            totals.failed_tests.append(self._test[:_ID_MAX])

    def _refuse_doctype(self, *_declared: object) -> None:
        raise self._broken("it has a document type, which no test tool writes")

    def _broken(self, rule: str) -> InvalidInputError:
        return InvalidInputError(f"{printable(self._name)} is no JUnit XML: {rule}", code="junit-broken")
