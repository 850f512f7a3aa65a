"""JUnit XML as tools write it, and what is none."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from store.harness import refused

from artifactstore import InvalidInputError
from artifactstore.interop.junit import TestTotals as Totals
from artifactstore.interop.junit import read_totals

if TYPE_CHECKING:
    from pathlib import Path


def totals(*documents: str | bytes) -> Totals:
    return read_totals(
        (f"{number}.xml", io.BytesIO(text if isinstance(text, bytes) else text.encode()))
        for number, text in enumerate(documents)
    )


def test_totals_of_several_documents() -> None:
    found = totals(
        '<?xml version="1.0"?><testsuite><testcase classname="a.B" name="one"/>'
        '<testcase classname="a.B" name="two"><failure/><system-out>x</system-out></testcase></testsuite>',
        '<testsuites><testsuite><testsuite><testcase name="alone"><error/><failure/></testcase></testsuite>'
        '<testcase classname="c" name="d"><skipped/></testcase></testsuite></testsuites>',
    )
    assert found.counts() == {"total": 4, "passed": 1, "failed": 1, "errors": 1, "skipped": 1}
    assert found.failed_tests == ["a.B::two", "alone"]


def test_a_failure_after_a_skip_counts() -> None:
    found = totals('<testsuite><testcase name="a"><skipped/><error/></testcase></testsuite>')
    assert (found.errors, found.skipped) == (1, 0)


def test_of_very_many_failures_the_first_thousand_are_named() -> None:
    case = '<testcase name="{}"><failure/></testcase>'
    documents = [
        f"<testsuite>{''.join(case.format(f'{part}-{number}') for number in range(800))}</testsuite>"
        for part in range(2)
    ]
    found = totals(*documents)
    assert (found.total, found.failed) == (1600, 1600)
    assert (len(found.failed_tests), found.failed_tests[-1]) == (1000, "1-199")


def test_what_pytest_writes(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert 0\n"
        "@pytest.mark.skip\ndef test_c(): pass\n"
        "@pytest.fixture\ndef bad(): raise OSError\n"
        "def test_d(bad): pass\n"
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=r.xml", "test_x.py"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    found = totals((tmp_path / "r.xml").read_bytes())
    assert found.counts() == {"total": 4, "passed": 1, "failed": 1, "errors": 1, "skipped": 1}
    assert found.failed_tests == ["test_x::test_b", "test_x::test_d"]


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "not XML"),
        ("<testsuite>", "not XML"),
        ("no", "not XML"),
        ("<html/>", "root"),
        ("<testsuite><testcase/></testsuite>", "no name"),
        ('<testsuite><testcase name="a"><testcase name="b"/></testcase></testsuite>', "stands in a test"),
        ("<testsuite>" * 65, "nested deeper"),
        (BOMB, "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuite/>', "document type"),
        (b"\xff\xfe\x00", "not XML"),
    ],
)
def test_what_is_none(document: str | bytes, said: str) -> None:
    with refused(InvalidInputError, "junit-broken", "0.xml", said):
        totals(document)
