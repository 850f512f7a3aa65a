"""Relative paths on both sides of every rule."""

from __future__ import annotations

ACCEPTED_PATHS = [
    *("a", "a/b/c", ".hidden", "..a", "a..", "...", "-", " ", "a b", "C:", "~", "back\\slash", '*?"<>|'),
    *("Prüfung", "Pru\u0308fung", "\u65e5\u672c", "\U0001f600", "\u200d", "\ufeff", "\ufffd", "\xa0", "\x7e"),
    *("n" * 255, "ü" * 127, "/".join(["d" * 255] * 16), "/".join(["d"] * 2048)),
]
REFUSED_PATHS: list[str | bytes] = [
    *("", "/", "/a", "//a", "a/", "a//b", ".", "..", "./a", "a/.", "a/./b", "../a", "a/..", "a/../b"),
    *("\0", "a\0b", "a\nb", "a\n", "a\r", "a\tb", "\x1b[31m", "\x1f", "\x7f", "\x80", "a\x85b", "\x9f"),
    *("a\u2028b", "a\u2029b", "\u202ab", "gpj\u202e.exe", "\u2066a", "a\u2069"),
    *("n" * 256, "a/" + "ü" * 128, "/".join(["d" * 255] * 16) + "/", "/".join(["d" * 255] * 16) + "/e"),
    *(b"\xff", b"a/\xc3", b"\xc0\xaf", b"\xed\xa0\x80"),
]
