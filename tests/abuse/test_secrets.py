"""Secrets: wherever one can be configured, no output, error, event or repr ever shows it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from cli.harness import answer_of

from artifactstore import SettingsError
from artifactstore.app import open_configured
from artifactstore.environment import default_env_file, load_settings

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-hunter2-Zq9"


@dataclass(frozen=True)
class Place:
    """A row: a place where people put a secret, rightly or not.

    Args:
        environment: variables that hold it.
        env_file: lines of `./.env` that hold it.
        flags: global options that hold it.
        refused: every command that needs the settings ends with 2.
        used: commands work on the local store although it is there.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    env_file: str = ""
    flags: tuple[str, ...] = ()
    refused: bool = False
    used: bool = True


def ours(**variables: str) -> dict[str, str]:
    """Variables of ours by the rest of their names."""
    return {f"ARTIFACTSTORE_{name}": value for name, value in variables.items()}


PLACES = [
    Place("token of the API", ours(API_TOKEN=CANARY)),
    Place("tokens that are accepted", ours(AUTH_TOKENS=f"{CANARY},{CANARY}-2\n{CANARY}-3")),
    Place("malformed tokens", ours(AUTH_TOKENS=f"{CANARY} {CANARY}"), refused=True),
    Place("password of the API", ours(API_URL=f"https://me:{CANARY}@api.example"), used=False),
    Place("user of the endpoint", ours(S3_ENDPOINT_URL=f"https://{CANARY}@s3.example")),
    Place("query of the endpoint", ours(S3_ENDPOINT_URL=f"https://s3.example/?key={CANARY}"), refused=True),
    Place("password of the hub", {"STATE_HUB_URL": f"http://me:{CANARY}@hub.example:8000"}),
    Place("key behind a reference", {"ARTIFACTSTORE_S3_SECRET_KEY_REF": "env:MY_KEY", "MY_KEY": CANARY}),
    Place(
        "key behind a reference with our prefix",
        {"ARTIFACTSTORE_S3_ACCESS_KEY_REF": "env:ARTIFACTSTORE_KEY", "ARTIFACTSTORE_KEY": CANARY},
    ),
    Place("key in the place of its reference", ours(S3_SECRET_KEY_REF=CANARY), refused=True),
    Place("password of a database", ours(DATABASE_URL=f"postgresql://me:{CANARY}@db/x"), refused=True),
    Place("option of a database", ours(DATABASE_URL=f"a.db?key={CANARY}"), refused=True),
    Place("password in a flag", flags=("--database", f"postgresql://me:{CANARY}@db/x"), refused=True),
    Place("key of a root", ours(STORAGE_LOCAL_ROOT=f"s3://key:{CANARY}@bucket"), refused=True),
    Place("key of a further backend", ours(STORAGE_URL_OFF_SITE=f"s3://key:{CANARY}@b"), refused=True),
    Place("setting that nobody knows", ours(S3_SECRET_KEY=CANARY)),
    Place("keys of other programs", {"AWS_SECRET_ACCESS_KEY": CANARY, "AWS_SESSION_TOKEN": CANARY}),
    Place("token in the file", env_file=f"ARTIFACTSTORE_API_TOKEN={CANARY}\n"),
    Place("unknown setting in the file", env_file=f"ARTIFACTSTORE_SECRET='{CANARY}'\n"),
    Place("value of another program in the file", env_file=f"OTHER_PASSWORD={CANARY}\n"),
    Place("open quote in the file", env_file=f'ARTIFACTSTORE_API_TOKEN="{CANARY}\n', refused=True),
    Place("line of the file that is none", env_file=f"{CANARY}\n", refused=True),
    Place("bytes of the file", env_file=f"ARTIFACTSTORE_API_TOKEN={CANARY}\udcff\n", refused=True),
    Place("control character in the file", env_file=f"ARTIFACTSTORE_API_TOKEN={CANARY}\x1b\n", refused=True),
]  # fmt: skip
COMMANDS = [
    ["config"],
    ["config", "--json"],
    ["config", "--jsonl"],
    ["init", "--json"],
    ["push", "evidence", "--producer", "ci", "--subject", "app", "--json"],
    ["list", "--json"],
    ["events"],
    ["health"],
    ["fsck"],
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with evidence."""
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "log").write_bytes(b"a line\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_no_output_shows_a_secret(here: Path, monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    (here / ".env").write_bytes(place.env_file.encode("utf-8", "surrogateescape"))
    monkeypatch.setenv("ARTIFACTSTORE_LOG_LEVEL", "DEBUG")
    flags = list(place.flags)
    if "ARTIFACTSTORE_DATABASE_URL" not in place.environment and not flags:
        flags += ["--database", str(here / "store" / "a.db")]
    if "ARTIFACTSTORE_STORAGE_LOCAL_ROOT" not in place.environment:
        flags += ["--root", str(here / "store" / "objects")]
    codes = []
    for number, command in enumerate(COMMANDS):
        monkeypatch.setenv("ARTIFACTSTORE_LOG_FORMAT", ("text", "json")[number % 2])
        done = answer_of([*command, "-vv", *flags])
        assert CANARY not in done.text + done.stderr, (command, done)
        codes.append(done.code)
    assert set(codes) == ({2} if place.refused else {0} if place.used else {0, 2})
    for path in (here / "store").rglob("*") if not place.refused else ():
        # Nothing of the settings is written down either.
        if path.is_file() and not path.name.endswith("-shm"):
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    "place", [place for place in PLACES if not place.flags], ids=lambda place: place.name
)
def test_no_value_of_the_library_shows_a_secret(
    here: Path, caplog: pytest.LogCaptureFixture, place: Place
) -> None:
    environment = {
        "ARTIFACTSTORE_DATABASE_URL": str(here / "a.db"),
        "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": str(here / "objects"),
        **place.environment,
    }
    if place.env_file:
        (here / ".env").write_bytes(place.env_file.encode("utf-8", "surrogateescape"))
    caplog.set_level("DEBUG")
    try:
        settings = load_settings(environ=environment, env_file=default_env_file())
    except SettingsError as error:
        refusal: SettingsError | None = error
    else:
        refusal = None
        assert CANARY not in f"{settings} {settings!r} {settings.describe()}"
        with open_configured(settings, create=True) as store:
            assert CANARY not in f"{store!r} {store.health()} {store.events()}"
    assert (refusal is not None) is place.refused
    if refusal is not None:
        shown = "".join(traceback.format_exception(refusal))
        assert CANARY not in f"{refusal!r} {refusal.hint} {vars(refusal)} {shown}"
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("file:key", "relative"),
        ("file:./key", "relative"),
        ("file:", "no path"),
        ("file:/", "no file"),
        ("file://host/key", "a host"),
        ("file:/a\nb", "two lines"),
        ("env:", "no name"),
        ("env:A B", "no name of a variable"),
        ("env:1A", "no name of a variable"),
        ("FILE:/run/key", "another kind"),
        ("vault:key", "another kind"),
    ],
)
def test_a_reference_to_a_secret_that_is_none_is_refused_by_name(reference: str, why: str) -> None:
    for name in ("ARTIFACTSTORE_S3_ACCESS_KEY_REF", "ARTIFACTSTORE_S3_SECRET_KEY_REF"):
        with pytest.raises(SettingsError) as caught:
            load_settings(environ={name: reference})
        assert name in caught.value.message, why
        assert reference not in caught.value.message
