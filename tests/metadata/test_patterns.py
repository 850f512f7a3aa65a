"""Patterns: they find what Python's find, and never take longer than text and pattern are long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore import InvalidInputError
from artifactstore.metadata.patterns import PATTERN_MAX, Pattern

ATOMS = [
    "a",
    "b",
    ".",
    "[ab]",
    "[^a]",
    "[a-c_]",
    r"\d",
    r"\D",
    r"\w",
    r"\W",
    r"\s",
    r"\S",
    r"\.",
    "^",
    "$",
    r"\b",
    r"\B",
]
LETTERS = "ab1_ -.\n"


def parts(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.one_of(inner.map("({})".format), inner.map("(?:{})".format))
    return st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map("(?:{})".format),
        st.tuples(groups, st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"])).map("".join),
    )


PATTERNS = st.recursive(st.sampled_from(ATOMS), parts, max_leaves=8)


def found(pattern: str, text: str) -> bool:
    return Pattern(pattern).search(text, lambda _steps: None)


@given(PATTERNS, st.text(LETTERS, min_size=1, max_size=8))
def test_it_finds_what_python_finds(pattern: str, text: str) -> None:
    # Python's $ also stands before a last line end, which that of ECMA-262 does not.
    python = re.compile(re.sub(r"(?<!\\)\$", r"\\Z", pattern), re.ASCII)
    assert found(pattern, text) == (python.search(text) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("^$", "\n", False),
        ("a$", "a\n", False),
        (".", "\u2028", False),
        (r"\s", "\u00a0", True),
        (r"\s", "\ufeff", True),
        (r"\d", "\u0661", False),
        (r"\w", "é", False),
        ("é", "é", True),
        (r"\u00e9", "é", True),
        (r"\x41", "A", True),
        (r"[\]a\-]", "-", True),
        ("[a-]", "-", True),
        ("[]", "a", False),
        ("[^]", "\n", True),
        (r"^[\d.]+$", "1.2", True),
        ("😀{2}", "😀😀", True),
        (r"\t\n\v\f\r\0", "\t\n\v\f\r\0", True),
        ("a|", "", True),
        ("(a*)*b", "aab", True),
        ("(|a)+$", "aaa", True),
        (r"^v1\.[a-z]+(?:_[a-z]+){0,3}$", "v1.hold_applied", True),
    ],
)
def test_known_answers(pattern: str, text: str, expected: bool) -> None:
    assert found(pattern, text) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "(", ")", "[", "a{", "a{x}", "a{2,1}", "*", "a**", "^*", "{2}", "]", "}", "\\", "[b-a]", r"[\d-z]", r"\x4", r"\u12",
        "(?=a)", "(?!a)", "(?<=a)", "(?<n>a)", r"(a)\1", r"\k<n>", r"\p{L}", r"\cA", "(?i)a", "a" * (PATTERN_MAX + 1),
        "a{4001}", "(a{100}){100}", "((a{20}){20}){20}", "(" * 33 + ")" * 33, "a{9999999999}",
        "(a{4000}){0}" * 80,
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Pattern(pattern)
    assert caught.value.code == "schema-refused"


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$",
        "^(a|a)*$",
        "^(a|aa)+$",
        "(a*)*b",
        "a*a*a*a*a*b",
        "(.*)(.*)(.*)=x",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
    ],
)
def test_steps_grow_no_faster_than_the_text(pattern: str) -> None:
    def steps(length: int) -> int:
        spent: list[int] = []
        Pattern(pattern).search("a" * length + "!", spent.append)
        return sum(spent)

    assert steps(2000) <= 2.1 * steps(1000)
    assert steps(1000) <= 1001 * 2 * (len(pattern) * 4 + 1)
