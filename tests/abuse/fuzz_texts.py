"""Doors for texts: JSON, TOML, `.env`, settings, times, sizes, digests, cursors, labels, globs, arguments."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.harness import answer_of
from store.harness import SAID, Home

from abuse.fuzzing import ANSWER_MAX, PIECES, Door, texts, wild
from artifactstore import Digest, Selection, SettingsError, codec
from artifactstore.cli.exit_codes import MEANINGS
from artifactstore.cli.metadata import collected, pairs
from artifactstore.cli.quantities import parse_share, parse_size
from artifactstore.dotenv import read_env_file
from artifactstore.environment import load_settings
from artifactstore.fields import check_label, check_metadata
from artifactstore.lifecycle.durations import DURATION_MAX, format_duration, parse_duration
from artifactstore.lifecycle.policy import read_policy
from artifactstore.media_types import check_media_type
from artifactstore.moment import format_moment, parse_moment
from artifactstore.objects.local import MARKER, LocalBackend
from artifactstore.scan import compile_globs
from artifactstore.setting_values import HIDDEN, mask_url
from artifactstore.settings import variables

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from artifactstore import Store

CANARY = "canary-7Zq9"
PACKAGE = "PACKAGE"  # stands for the id of a package that is there


@functools.cache
def _folder() -> Path:
    """Where this process writes what is to be read; removed when it ends."""
    folder = tempfile.TemporaryDirectory()
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[object] = []


@functools.cache
def _store() -> Store:
    store = Home(_folder() / "home").open()
    package = store.create_package(**SAID)
    store.ingest_file(package, "a", b"a", actor="ada")
    _KEPT.append(store)
    return store


@functools.cache
def _package() -> str:
    return _store().list_packages().items[0].package_id


def _written(data: str | bytes) -> Path:
    path = _folder() / "input"
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return path


# JSON

_JSON_SEEDS = (
    '{"run": {"id": 7, "ok": true, "tags": ["a", "b"]}, "note": "\\u00e9\\ud83d\\ude00", "none": null}',
    '{"a": 1.5e300, "b": -0.0, "c": 9223372036854775807, "d": [], "e": {}, "f": [[[[1]]]]}',
    '{"": "", "a.b": 1, "a": {"b": 2}, "\\u0000": "\\u2028"}',
    "[]",
    "{}",
    '"text"',
)


def made_json(chance: random.Random, depth: int = 0) -> str:
    """JSON, or almost: members twice, numbers and words that only some readers know, any escape."""
    kind = chance.randrange(8 if depth < 6 else 5)
    if kind < 3:
        numbers = ("0", "-1", "1.5", "1e5", "1e999", "9" * 30, "NaN", "-Infinity", "01", "null", "true")
        return chance.choice(numbers)
    if kind < 5:
        escapes = ("a", "\\n", "\\u0000", "\\ud800", "\\ud83d\\ude00", "\\x", '\\"', "\u2028", "\n")
        return f'"{"".join(chance.choices(escapes, k=chance.randrange(4)))}"'
    inner = [made_json(chance, depth + 1) for _ in range(chance.choice((0, 1, 2, 3)))]
    if kind == 5:
        return f"[{','.join(inner)}]"
    return "{" + ",".join(f'"{chance.choice("abcd")}":{entry}' for entry in inner) + "}"


def json_file(chance: random.Random) -> bytes:
    """A file that should hold one JSON object."""
    text = made_json(chance) if chance.random() < 0.4 else wild(chance, _JSON_SEEDS)
    encoding = "utf-8" if chance.random() < 0.95 else chance.choice(("utf-16", "utf-8-sig", "utf-32"))
    data = text.encode(encoding, "surrogatepass")
    if chance.random() < 0.05:
        place = chance.randint(0, len(data))
        data = data[:place] + bytes([chance.randrange(256)]) + data[place:]
    return data


def ask_metadata(data: bytes) -> bool:
    """Metadata that is taken is what the strictest reading of the JSON says."""
    found = collected(None, str(_written(data)))
    metadata = check_metadata(found)
    assert codec.decode(codec.encode(metadata)) == metadata

    def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in members}) == len(members)
        return dict(members)

    assert json.loads(data.decode("utf-8"), object_pairs_hook=once) == metadata
    return True


def ask_marker(data: bytes) -> bool:
    """The marker of an object root is this store's, or there is a problem with the root."""
    root = _folder() / "root"
    root.mkdir(exist_ok=True)
    (root / MARKER).write_bytes(data)
    problems = LocalBackend(str(root)).problems(uuid.UUID(_STORE_ID))
    assert all(len(problem) < ANSWER_MAX for problem in problems)
    if not problems:
        assert json.loads(data)["format"] == 1
        assert uuid.UUID(json.loads(data)["store_id"]) == uuid.UUID(_STORE_ID)
    return not problems


_STORE_ID = "6f1c4b0e-9d52-4c57-8a3e-2f0b7d9c1e48"


def marker(chance: random.Random) -> bytes:
    """A file that should be a marker."""
    seeds = [f'{{"format": 1, "store_id": "{store_id}"}}' for store_id in (_STORE_ID, uuid.UUID(int=1))]
    text = made_json(chance) if chance.random() < 0.2 else wild(chance, seeds)
    return text.encode("utf-8", "surrogatepass")


def ask_pairs(text: str) -> bool:
    """`KEY=VALUE`."""
    assert "=".join(*pairs([text]).items()) == text
    return True


# Files of settings


def ask_env(text: str) -> bool:
    """No name but ours is taken, each from the line on which it stands, and no value makes a further line."""
    found = read_env_file(_written(text), ("ARTIFACTSTORE_", "STATE_HUB_"))
    lines = text.removeprefix("\ufeff").split("\n")
    for name, assignment in found.items():
        assert name.startswith(("ARTIFACTSTORE_", "STATE_HUB_"))
        assert name in lines[assignment.line - 1]
        assert "\n" not in assignment.value or "\\n" in lines[assignment.line - 1]
    return bool(found)


_ENV_SEEDS = (
    "ARTIFACTSTORE_LOG_LEVEL=INFO\n# comment\nOTHER='x'\nexport ARTIFACTSTORE_S3_REGION=\"eu\\n1\" # c\n",
    "STATE_HUB_URL='http://127.0.0.1:8000'\r\nARTIFACTSTORE_API_TOKEN=${HOME}$(id)\n",
)


def ask_policy(text: str) -> bool:
    """Every class has a name that can be one and a duration that is one."""
    policy = read_policy(_written(text))
    for name, seconds in policy.overrides.items():
        assert check_label(name, field="class") == name
        assert seconds is None or 0 < seconds <= DURATION_MAX
    return True


_POLICY_SEEDS = (
    "[retention_classes.transient]\ndefault_duration_seconds = 60\n",
    "[retention_classes]\nraw-evidence = {default_duration_seconds = 0x10}\n[retention_classes.audit-2026]\n",
)

_SETTING_SEEDS: dict[str, tuple[str, ...]] = {
    "ARTIFACTSTORE_DATABASE_URL": (
        "sqlite:///a/b.db",
        "sqlite+aiosqlite:////a.db",
        "~/a.db",
        "postgresql://u:p@h/d",
    ),
    "ARTIFACTSTORE_STORAGE_BACKEND_ROUTES": ("guide-board:release-evidence=local,*:*=local",),
    "ARTIFACTSTORE_STORAGE_BACKENDS": ("local,s3", "local"),
    "ARTIFACTSTORE_AUTH_TOKENS": ("one,two\nthree",),
    "ARTIFACTSTORE_S3_ACCESS_KEY_REF": ("env:NAME", "file:/run/secrets/key"),
    "ARTIFACTSTORE_S3_SECRET_KEY_REF": ("env:NAME", "file:/run/secrets/key"),
    "ARTIFACTSTORE_S3_KEY_PREFIX": ("prod/artifact-store",),
    "ARTIFACTSTORE_STORAGE_URL_OFF_SITE": ("file:///srv/off%20site", "file://localhost/srv", "s3://k:s@b"),
}
_OTHER_SEEDS = ("http://127.0.0.1:8000/api", "https://[::1]:9000", "3600", "true", "INFO", "a/b", "us-east-1")
SETTING_NAMES = [
    *sorted(variable.name for variable in variables().values()),
    "ARTIFACTSTORE_STORAGE_URL_OFF_SITE",
]


def setting(chance: random.Random) -> tuple[str, str]:
    """A variable and a text for it."""
    name = chance.choice(SETTING_NAMES)
    return name, wild(chance, _SETTING_SEEDS.get(name, _OTHER_SEEDS))


def ask_setting(assignment: tuple[str, str]) -> bool:
    """What is taken can be shown, and can be read again from what is shown unless that hides a secret."""
    name, text = assignment
    settings = load_settings(environ={name: text})
    shown = {value.name: value.text for value in settings.describe()}
    repr(settings).encode()
    again = shown.get(name, "")  # a further backend without a place is none
    if HIDDEN not in again and "\\ud" not in again:
        assert load_settings(environ={name: again}) == settings
    return True


def secret_url(chance: random.Random) -> str:
    """A URL with a secret where URLs have them, disguised as well as chance can."""
    disguises = (CANARY, "%40", ":", "!", *PIECES[:12])
    secret = f"{chance.choice(disguises)}{chance.choice(disguises)}{CANARY}"
    rest = chance.choice(
        (
            f"://user:{secret}@host/path",
            f"://{secret}@host:80",
            f":user:{secret}@host",
            f":/user:{secret}@host/x",
            f"://host/path?password={secret}",
            f"://host/path#{secret}",
        )
    )
    return chance.choice(("postgresql", "https", "s3", "ftp", "mysql+driver", "x-y.z+1")) + rest


def ask_secret_url(url: str) -> bool:
    """The secret is nowhere: not in a masked URL, a refusal, a repr or a description."""
    assert CANARY not in mask_url(url), ascii(url)
    for name in _URL_NAMES:
        assert CANARY not in _shown_of(name, url), (name, ascii(url))
    return True


def _shown_of(name: str, url: str) -> str:
    """All that is ever shown of a setting, whether it is taken or not."""
    try:
        settings = load_settings(environ={name: url})
    except SettingsError as refusal:
        beneath = refusal.__cause__ or (None if refusal.__suppress_context__ else refusal.__context__)
        return f"{refusal} {refusal!r} {refusal.hint} {beneath!r}"
    return f"{settings!r} {settings.describe()}"


_URL_NAMES = (
    "ARTIFACTSTORE_DATABASE_URL",
    "ARTIFACTSTORE_API_URL",
    "ARTIFACTSTORE_S3_ENDPOINT_URL",
    "ARTIFACTSTORE_STORAGE_URL_OFF_SITE",
    "STATE_HUB_URL",
)


# Values


def ask_duration(text: str) -> bool:
    """A number of seconds that can be written."""
    seconds = parse_duration(text)
    assert 0 < seconds <= DURATION_MAX
    assert format_duration(seconds)
    return True


def ask_moment(text: str) -> bool:
    """An instant that can be written, and read again."""
    moment = parse_moment(text)
    assert parse_moment(format_moment(moment)) == moment
    return True


def ask_size(text: str) -> bool:
    """Bytes."""
    assert parse_size(text) > 0
    return True


def ask_share(text: str) -> bool:
    """A share."""
    assert 0 < parse_share(text) <= 1
    return True


def ask_digest(text: str) -> bool:
    """A digest is written in one way."""
    assert str(Digest.parse(text)) == text
    return True


def ask_label(text: str) -> bool:
    """A label is kept as it is, and is one line."""
    assert check_label(text, field="name") == text
    assert "\n" not in text
    text.encode()
    return True


def ask_media_type(text: str) -> bool:
    """A media type is kept as it is, and fits into a header."""
    assert check_media_type(text) == text
    assert text.isascii()
    assert not {"\r", "\n", "\0"} & set(text)
    return True


def ask_glob(text: str) -> bool:
    """A glob takes paths or does not; it takes no time."""
    pattern = compile_globs(Selection(include=(text,)).include)
    assert pattern is not None
    pattern.fullmatch("a/b/" * 40 + "a" * 200)
    pattern.fullmatch(text[:300])
    return True


def ask_store(question: tuple[str, str]) -> bool:
    """A question to a store is answered or refused."""
    what, text = question
    store = _store()
    ask: dict[str, Callable[[], object]] = {
        "package": lambda: store.get_package(text),
        "object": lambda: store.find_object(text),
        "cursor": lambda: store.list_packages(cursor=text),
        "cursor of files": lambda: store.list_files(_package(), cursor=text),
        "file": lambda: store.get_file(_package(), text),
        "filter": lambda: store.list_packages(producer=text, metadata={text: text}),
        "status": lambda: store.list_packages(status=text),
        "hold": lambda: store.release_hold(_package(), text, reason="over", actor="ada"),
        "backend": lambda: store.verify(actor="ada", backend=text),
    }
    ask[what]()
    return True


QUESTIONS = {
    "package": ("01a204e5-d1a0-7000-8000-000000000001", "abcd"),
    "object": (f"blake3:{'a' * 64}", f"sha256:{'0' * 64}", "abcd1234"),
    "cursor": ("17", "1"),
    "cursor of files": ("eno=", "YS9i", "w7w="),
    "file": ("a", "a/b"),
    "filter": ("ci", "a.b", "' OR '1'='1", "%"),
    "status": ("open", "finalized"),
    "hold": ("01a204e5-d1a0-7000-8000-000000000001", "{urn:uuid:}"),
    "backend": ("local", "second"),
}


def question(chance: random.Random) -> tuple[str, str]:
    """Something to ask a store."""
    what = chance.choice(list(QUESTIONS))
    return what, wild(chance, QUESTIONS[what])


# The command line

# Commands, and arguments with which they would succeed, or nearly.
_COMMANDS: tuple[tuple[str, list[str]], ...] = (
    ("list --created-after {}", ["2026-11-22"]),
    ("list --created-before {}", ["2026-11-22T20:15:00+01:00"]),
    ("list --metadata {} --limit {}", ["a.b=c", "7"]),
    ("list --cursor {} --json", ["17"]),
    ("show {}", [PACKAGE]),
    ("files {} --jsonl", [PACKAGE]),
    ("cat {} {}", [PACKAGE, "a"]),
    ("find {}", ["abcd"]),
    ("manifest {}", [PACKAGE]),
    ("export {} {}", [PACKAGE, "out"]),
    ("check {} --manifest {}", [".", "manifest.cbor"]),
    ("events --after {} --limit {}", ["0", "7"]),
    ("package add {} {} {}", [PACKAGE, "new", "nowhere"]),
    ("package finalize {} --idempotency-key {}", ["abcd", "key"]),
    ("retention extend {} --until {}", [PACKAGE, "2126-11-22"]),
    ("retention extend {} --by {}", [PACKAGE, "90d"]),
    ("retention hold {} --reason {}", [PACKAGE, "case 7"]),
    ("retention release {} {} --reason {}", [PACKAGE, "01a204e5-d1a0-7000-8000-000000000001", "over"]),
    ("retention sweep --abandoned-after {}", ["30d"]),
    ("retention gc --yes --plan {}", ["plan"]),
    ("storage verify --sample {} --max-bytes {}", ["5%", "10GiB"]),
    ("storage verify --shard {}", ["1/2"]),
    ("storage copy --from {} --to {}", ["local", "second"]),
    ("storage orphans --older-than {}", ["24h"]),
    ("config {}", ["--json"]),
    ("--env-file {} config", [".env"]),
    ("{} {}", ["version", "--json"]),
)


def command(chance: random.Random) -> list[str]:
    """A command of whose arguments one is wild; without what the operating system cannot hand over."""
    words, typical = chance.choice(_COMMANDS)
    arguments = [_package() if argument == PACKAGE else argument for argument in typical]
    place = chance.randrange(len(arguments))
    text = wild(chance, [arguments[place]])
    arguments[place] = text.replace("\0", "").encode("utf-8", "replace").decode()[:2000]
    if words.startswith("export"):  # which shall write nowhere but here
        arguments[-1] = arguments[-1].lstrip("/").replace("..", "")
    rest = iter(arguments)
    return [next(rest) if word == "{}" else word for word in words.split()]


def ask_command(arguments: list[str]) -> bool:
    """An exit code that is documented, and never a report of a bug."""
    _store()
    home = Home(_folder() / "home")
    places = ["--database", str(home.database), "--root", str(home.objects)]
    with contextlib.chdir(_empty()):
        answer = answer_of([*places, *arguments])
    code, said = answer.code, answer.stderr
    assert code in MEANINGS, code
    assert "internal error" not in said, said
    assert "Traceback" not in said, said
    assert len(said) < 4 * ANSWER_MAX, said[:500]
    return code == 0


@functools.cache
def _empty() -> str:
    (_folder() / "here").mkdir()
    return str(_folder() / "here")


JSON_DOORS = (
    Door("metadata", json_file, ask_metadata),
    Door("marker of a root", marker, ask_marker),
)
TEXT_DOORS = (
    Door("KEY=VALUE", texts("a=b", "a.b==", "="), ask_pairs),
    Door(".env", texts(*_ENV_SEEDS), ask_env),
    Door("retention policy", texts(*_POLICY_SEEDS), ask_policy),
    Door("setting", setting, ask_setting),
    Door("secret in a URL", secret_url, ask_secret_url),
    Door("duration", texts("90d", "2h30m", "P1Y2DT3H", "86400", "1y1w1d1h1m1s"), ask_duration),
    Door("moment", texts("2026-11-22", "2026-11-22T20:15:00Z", "0001-01-01T00:00:00+23:59"), ask_moment),
    Door("size", texts("10GiB", "500MB", "1", "7 eib"), ask_size),
    Door("share", texts("5%", "0.05", "100%", "1"), ask_share),
    Door("digest", texts(f"blake3:{'a' * 64}", f"sha256:{'0' * 64}"), ask_digest),
    Door("label", texts("nightly", "two words", "\u00e9"), ask_label),
    Door("media type", texts("text/plain", 'a/b; c="d e"; f=g'), ask_media_type),
    Door("glob", texts("*.log", "a/**/b", "[a-z]?/", "[!a]*/**"), ask_glob),
    Door("question", question, ask_store),
)
COMMAND_DOORS = (Door("command", command, ask_command),)
