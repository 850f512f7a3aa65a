"""Checks a directory of evidence against the manifest of its package.

Needs Python 3.8 or newer and nothing else. It only reads, opens nothing but regular files, and follows no
symbolic link below the directory. Exit codes: 0 intact, 1 manifest refused, 2 usage, 3 findings.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import os
import re
import signal
import stat
import struct
import sys
from collections import Counter
from typing import Any, Iterator

MEDIA_TYPE = "application/vnd.artifactstore.manifest.v1+cbor"
MAX_DEPTH = 66  # maps and lists inside one another: the manifest, its package, and 64 of metadata
MAX_INTEGER = (1 << 63) - 1
MAX_PATH, MAX_SEGMENT = 4096, 255  # bytes of UTF-8
MAX_KIT_FILE = 1 << 31  # bytes; the manifest of a million files has about 200 MB
MAX_REST = (1 << 20) + (1 << 16)  # bytes of a manifest behind its files: metadata has at most 1 MiB
BLOCK = 1 << 20  # bytes read at once

START = b"\xa6\x65files"  # a map of six, and the lowest of its keys
REST = {"totals": dict, "package": dict, "version": int, "media_type": str, "content_digest": bytes}
MANIFEST_KEYS = f"the manifest has to have the keys files, {', '.join(REST)}"
FILE = {"size": int, "blake3": bytes, "sha256": bytes,
        "executable": bool, "media_type": str, "relative_path": str}  # fmt: skip
FILE_KEYS = f"a file has to have the keys {', '.join(FILE)}"
FILE_KEY_FORMS = [(name, bytes([0x60 + len(name)]) + name.encode()) for name in FILE]  # as encoded
TOTALS = {"size": int, "files": int}
PACKAGE = {"name": str, "subject": str, "metadata": dict, "producer": str, "store_id": str, "created_at": int,
           "package_id": str, "metadata_schema": (str, type(None)), "retention_class": str}  # fmt: skip

KIT = (b"manifest.cbor", b"manifest.json", b"SHA256SUMS", b"B3SUMS", b"verify.py", b"VERIFY.md")

UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Control characters, line separators, and marks that make a name read as another one.
UNSAFE_IN_PATH = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

REGULAR, DIRECTORY, LINK = "a regular file", "a directory", "a symbolic link"
SPECIAL, CLOSED = "a special file", "a directory that cannot be read"


class ManifestError(Exception):
    """The manifest breaks the rule that the message names."""


class Reader:
    """Reads deterministic CBOR (RFC 8949, section 4.2.1) with text keys and refuses all other CBOR.

    In this form each value can be written in one way only, so what is read here is canonical.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def error(self, reason: str) -> ManifestError:
        return ManifestError(f"{reason}, near byte {self.position}")

    def take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise self.error("it ends too early")
        return self.data[start : self.position]

    def files(self) -> list[dict[str, Any]]:
        """The list of files, each in the one form that it can have.

        So a document that is no manifest is refused at its first wrong byte: read as any CBOR, it could take
        a hundred times its size.
        """
        self.expect(START, MANIFEST_KEYS)
        head = self.take(1)[0]
        if head >> 5 != 4:
            raise self.error("files of the manifest is malformed")
        count = head & 31 if head & 31 < 24 else self.long_argument(head & 31)
        files = []
        for _ in range(count):
            self.expect(b"\xa6", FILE_KEYS)
            file = {}
            for name, key in FILE_KEY_FORMS:
                self.expect(key, FILE_KEYS)
                file[name] = self.value(MAX_DEPTH)  # which lets no list and no map in
            check_fields(file, FILE, "a file")
            files.append(file)
        return files

    def expect(self, encoded: bytes, rule: str) -> None:
        if self.take(len(encoded)) != encoded:
            raise self.error(f"{rule}, in this order and in their shortest form")

    def value(self, depth: int) -> Any:
        """The next value, which lies inside `depth` maps and lists."""
        initial = self.take(1)[0]
        major, argument = initial >> 5, initial & 31
        if major == 7:
            return self.simple_or_float(initial)
        if argument > 23:
            argument = self.long_argument(argument)
        if major < 2:
            return -1 - argument if major else argument
        if major == 2:
            return self.take(argument)
        if major == 3:
            try:
                return self.take(argument).decode("utf-8")
            except UnicodeDecodeError:
                raise self.error("a text is not UTF-8") from None
        if major == 6 or depth == MAX_DEPTH:
            raise self.error("tags and deeper nesting are not allowed")
        if major == 5:
            return self.map(argument, depth)
        return [self.value(depth + 1) for _ in range(argument)]

    def long_argument(self, information: int) -> int:
        if information > 27:
            raise self.error("indefinite lengths and reserved forms are not allowed")
        argument = int.from_bytes(self.take(1 << (information - 24)), "big")
        if argument < (24, 1 << 8, 1 << 16, 1 << 32)[information - 24] or argument > MAX_INTEGER:
            raise self.error("an integer or a length is not in its shortest form, or too large")
        return argument

    def map(self, count: int, depth: int) -> dict[str, Any]:
        result, previous = {}, b""
        for _ in range(count):
            start = self.position
            key = self.value(MAX_DEPTH)
            encoded = self.data[start : self.position]
            if not isinstance(key, str) or encoded <= previous:
                raise self.error("the keys of a map are not text, not sorted, or not unique")
            previous = encoded
            result[key] = self.value(depth + 1)
        return result

    def simple_or_float(self, initial: int) -> Any:
        if initial in (0xF4, 0xF5, 0xF6):
            return {0xF4: False, 0xF5: True, 0xF6: None}[initial]
        if initial not in (0xF9, 0xFA, 0xFB):
            raise self.error("undefined and other simple values are not allowed")
        form, shorter = {0xF9: (">e", ""), 0xFA: (">f", ">e"), 0xFB: (">d", ">f")}[initial]
        number = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        try:
            fits = shorter and struct.unpack(shorter, struct.pack(shorter, number))[0] == number
        except OverflowError:  # too large for the shorter form
            fits = False
        if fits or not math.isfinite(number):
            raise self.error("a floating-point number is not finite or not in its shortest form")
        return number


def decode(data: bytes) -> dict[str, Any]:
    """The manifest, if it is canonical, safe, and agrees with itself, in the form of manifest.json."""
    reader = Reader(data)
    files = reader.files()
    end_of_files = reader.position
    if len(data) - end_of_files > MAX_REST:
        raise reader.error("too much follows the files")
    manifest: dict[str, Any] = reader.map(5, 0)
    if reader.position != len(data):
        raise reader.error("bytes follow its end")
    check_fields(manifest, REST, "the manifest")
    manifest["files"] = files
    if (manifest["version"], manifest["media_type"]) != (1, MEDIA_TYPE):
        raise ManifestError("its version or media type is unknown to this program")
    package = manifest["package"]
    check_fields(manifest["totals"], TOTALS, "totals")
    check_fields(package, PACKAGE, "the package")
    for file in files:
        file.update(blake3=f"blake3:{file['blake3'].hex()}", sha256=f"sha256:{file['sha256'].hex()}")
    check_paths([file["relative_path"] for file in files])
    if manifest["totals"] != {"size": sum(file["size"] for file in files), "files": len(files)}:
        raise ManifestError("its totals are not those of its files")
    if manifest["content_digest"] != hashlib.sha256(data[len(START) : end_of_files]).digest():
        raise ManifestError("its content digest is not that of its files")
    manifest["content_digest"] = f"sha256:{manifest['content_digest'].hex()}"
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    try:
        json.dumps(package["metadata"])
        moment += datetime.timedelta(microseconds=package["created_at"])
    except (TypeError, OverflowError):
        raise ManifestError("its metadata holds bytes, or its time is out of range") from None
    package["created_at"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return manifest


def check_fields(value: Any, fields: dict[str, Any], what: str) -> None:
    if not isinstance(value, dict) or value.keys() != fields.keys():
        raise ManifestError(f"{what} has to have the keys {', '.join(fields)}")
    for name, expected in fields.items():
        field = value[name]
        if (
            not isinstance(field, expected)
            or (isinstance(field, bool) and expected is not bool)
            or (expected is bytes and len(field) != 32)
            or (name == "size" and field < 0)
            or (name in ("package_id", "store_id") and not UUID.fullmatch(field))
        ):
            raise ManifestError(f"{name} of {what} is malformed")


def check_paths(paths: list[str]) -> None:
    """Refuse paths that leave the directory, disguise themselves, or exclude one another."""
    if not paths:
        raise ManifestError("it lists no file")
    previous = b""
    for path in paths:
        name = path.encode()
        segments = name.split(b"/")
        too_long = len(name) > MAX_PATH or max(map(len, segments)) > MAX_SEGMENT
        if too_long or UNSAFE_IN_PATH.search(path) or not {b"", b".", b".."}.isdisjoint(segments):
            raise ManifestError(f"unsafe or too long path {printable(name)}")
        if name <= previous:
            raise ManifestError(f"paths are not sorted or not unique at {printable(name)}")
        previous = name
    # With the separator as the lowest character, what is below a path follows it at once.
    above = "/"
    for path in sorted(path.replace("/", "\0") for path in paths):
        if path.startswith(above + "\0"):
            name = above.replace("\0", "/").encode()
            raise ManifestError(f"both a file and a directory: {printable(name)}")
        above = path


def printable(name: bytes) -> str:
    """A name without anything that a terminal would act upon; a backslash is doubled, as in SHA256SUMS."""
    text = name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def walk(kit: str) -> dict[bytes, str]:
    """What lies below the current directory, without the files of the kit: relative path -> kind.

    Follows no link.
    """
    found, pending, own = {}, [b""], None
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(prefix or b".") as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        found[name] = DIRECTORY
                        pending.append(name + b"/")
                        if not prefix and os.path.samefile(name, kit):
                            own = name + b"/"
                    elif prefix == own and entry.name in KIT:
                        continue
                    elif entry.is_symlink():
                        found[name] = LINK
                    else:
                        found[name] = REGULAR if entry.is_file(follow_symlinks=False) else SPECIAL
        except OSError:
            if not prefix:
                raise
            found[prefix[:-1]] = CLOSED
    return found


def open_regular(path: Any, flags: int = 0) -> int:
    """The descriptor of a regular file; this never waits for the writer of a FIFO."""
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_RDONLY | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"it is not {REGULAR}")
    return descriptor


def check_directory(files: list[dict[str, Any]], found: dict[bytes, str]) -> Iterator[tuple[str, str]]:
    """Compare what is listed with what `walk` found; only names that it found as regular files are opened."""
    block = memoryview(bytearray(BLOCK))
    other_mode = []
    for file in files:
        name = file["relative_path"].encode()
        kind = found.pop(name, None)
        if kind is None:
            above = {found.get(name[: slash.start()]) for slash in re.finditer(b"/", name)}
            yield "MISSING" if above.isdisjoint({LINK, CLOSED}) else "CHANGED", printable(name)
            continue
        try:
            if kind != REGULAR:
                raise OSError(f"it is {kind}")
            with open(open_regular(name, getattr(os, "O_NOFOLLOW", 0)), "rb", buffering=0) as stream:
                status, digest = os.fstat(stream.fileno()), hashlib.sha256()
                while status.st_size == file["size"] and (count := stream.readinto(block)):
                    digest.update(block[:count])
        except OSError as error:
            yield "CHANGED", printable(name)
            yield "note:", f"{printable(name)} was not read: {error.strerror or error}"
            continue
        if f"sha256:{digest.hexdigest()}" != file["sha256"] or status.st_size != file["size"]:
            yield "CHANGED", printable(name)
        if bool(status.st_mode & stat.S_IXUSR) != file["executable"]:
            other_mode.append(printable(name))
    for name, kind in sorted(found.items()):
        if kind != DIRECTORY:
            yield "UNLISTED", printable(name)
            if kind != REGULAR:
                yield "note:", f"{printable(name)} is {kind}"
    if other_mode and os.name == "posix":
        yield "note:", f"{len(other_mode)} executable bits differ, first that of {other_mode[0]} (no damage)"


def read_kit_file(path: str) -> bytes:
    with open(open_regular(path), "rb") as stream:
        if os.fstat(stream.fileno()).st_size > MAX_KIT_FILE:
            raise OSError("it is too large")
        return stream.read()


def check_kit(kit: str, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Whether the lists for other tools say what the manifest says; a list that is not there says nothing."""
    for name, algorithm in (("SHA256SUMS", "sha256"), ("B3SUMS", "blake3"), ("manifest.json", "")):
        try:
            data = read_kit_file(os.path.join(kit, name))
            # Nothing is taken apart that could come to more than what is expected.
            if algorithm:
                lines = sorted(sum_lines(manifest["files"], algorithm))
                fits = len(data) <= sum(len(line) + 2 for line in lines)
                agrees = fits and sorted(data.splitlines()) == lines
            else:  # compared as text, which tells 1, 1.0 and true apart
                text = json.dumps(manifest, sort_keys=True)
                fits = all(data.count(sign.encode()) == text.count(sign) for sign in "[{,")
                agrees = fits and json.dumps(json.loads(data), sort_keys=True) == text
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            agrees = False
        if not agrees:
            yield "KIT", f"{name} disagrees with the manifest"


def sum_lines(files: list[dict[str, Any]], algorithm: str) -> Iterator[bytes]:
    """The lines of sha256sum and b3sum; a backslash is doubled, and then another one starts the line."""
    for file in files:
        line = f"{file[algorithm].split(':')[1]}  {file['relative_path']}".encode()
        yield b"\\" + line.replace(b"\\", b"\\\\") if b"\\" in line else line


def main(arguments: list[str] | None = None) -> int:
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Check a directory of evidence against its manifest.")
    parser.add_argument("directory", metavar="DIR", nargs="?", default=os.path.dirname(here))
    parser.add_argument("--manifest", metavar="FILE", default=os.path.join(here, "manifest.cbor"))
    parser.add_argument("--manifest-digest", metavar="sha256:HEX", help="the one received by another way")
    options = parser.parse_args(arguments)
    expected = options.manifest_digest and options.manifest_digest.lower()
    if expected is not None and not re.fullmatch("sha256:[0-9a-f]{64}", expected):
        parser.error("--manifest-digest has to be sha256: and 64 hex digits")
    try:
        data = read_kit_file(options.manifest)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if expected not in (None, digest):
            raise ManifestError(f"its digest is {digest}, not the given one")
        manifest = decode(data)
    except (OSError, ManifestError) as error:
        reason = getattr(error, "strerror", None) or error
        print(f"refused: {printable(os.fsencode(options.manifest))}: {reason}", file=sys.stderr)
        return 1
    beside = os.path.dirname(os.path.abspath(options.manifest))
    try:
        # An auditor's own copy of this program may lie elsewhere, and so may the manifest.
        below = [it for it in (beside, here) if os.path.samefile(os.path.dirname(it), options.directory)]
        kit = [*below, beside][0]
        os.chdir(options.directory)
        found = walk(kit)
    except OSError as error:
        parser.error(f"cannot read the directory: {error}")
    counts: Counter[str] = Counter()
    for check in (check_directory(manifest["files"], found), check_kit(kit, manifest)):
        for kind, text in check:
            print(kind, text)
            counts[kind] += 1
    del counts["note:"]
    package, totals = manifest["package"], manifest["totals"]
    result = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "intact"
    for line in (
        f"package:  {package['package_id']}",
        f"name:     {package['name']}",
        f"producer: {package['producer']}",
        f"subject:  {package['subject']}",
        f"files:    {totals['files']}, {totals['size']} bytes",
        f"content:  {manifest['content_digest']}",
        f"manifest: {digest}",
        f"result:   {result}",
        f"checker:  {here}",
        f"blake3 is not in Python and was not checked: use `b3sum -c {os.path.basename(kit)}/B3SUMS`.",
    ):
        print(printable(line.encode()))
    if expected is None:
        print("Compare the digest of the manifest with one that you received by another way:")
        print("whoever can change the files can change this kit as well.")
    return 3 if counts else 0


if __name__ == "__main__":
    for name in ("SIGINT", "SIGPIPE"):  # end without a traceback when interrupted, or by `| head`
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # any terminal's encoding
    sys.exit(main())
