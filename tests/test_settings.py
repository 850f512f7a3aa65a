"""Settings: precedence, origins, strict values, secrets that stay secret."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.environment import default_env_file, load_settings
from artifactstore.errors import SettingsError
from artifactstore.settings import Route, SecretRef, Settings, SettingValue, database_path, variables

ROOT = Path(__file__).parent.parent
GUIDE_VARIABLES = [
    "ARTIFACTSTORE_DATABASE_URL",
    "ARTIFACTSTORE_STORAGE_LOCAL_ROOT",
    "ARTIFACTSTORE_LOG_LEVEL",
    "ARTIFACTSTORE_AUTH_TOKENS",
    "ARTIFACTSTORE_ANON_READ",
    "ARTIFACTSTORE_API_URL",
    "ARTIFACTSTORE_API_TOKEN",
    "ARTIFACTSTORE_GUIDE_BOARD_SCHEMA",
    "ARTIFACTSTORE_RETENTION_CONFIG_PATH",
    "ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS",
    "ARTIFACTSTORE_STORAGE_BACKENDS",
    "ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND",
    "ARTIFACTSTORE_STORAGE_BACKEND_ROUTES",
    "ARTIFACTSTORE_S3_ENDPOINT_URL",
    "ARTIFACTSTORE_S3_REGION",
    "ARTIFACTSTORE_S3_BUCKET",
    "ARTIFACTSTORE_S3_KEY_PREFIX",
    "ARTIFACTSTORE_S3_ACCESS_KEY_REF",
    "ARTIFACTSTORE_S3_SECRET_KEY_REF",
    "ARTIFACTSTORE_S3_STORAGE_CLASS",
    "ARTIFACTSTORE_S3_SSE",
    "ARTIFACTSTORE_S3_MULTIPART_THRESHOLD_BYTES",
    "ARTIFACTSTORE_S3_MULTIPART_CHUNK_BYTES",
    "STATE_HUB_URL",
    "STATE_HUB_WORKSTREAM_ID",
    "STATE_HUB_TASK_ID",
]
OWN_VARIABLES = [
    "ARTIFACTSTORE_LOG_FORMAT",
    "ARTIFACTSTORE_NO_PROGRESS",
    "ARTIFACTSTORE_S3_OBJECT_LOCK",
]


def load_one(name: str, text: str) -> Settings:
    return load_settings(environ={name: text})


SERVICES = ("ARTIFACTSTORE_S3_ENDPOINT_URL", "STATE_HUB_URL")
LINK_LOCAL = (
    "http://169.254.169.254",
    "https://169.254.170.2:443/v2",
    "http://user@169.254.169.254/latest/",
    "http://2852039166",
    "http://0xA9FEA9FE/",
    "http://0251.0376.0251.0376",
    "http://169.254.43518",
    "http://[fe80::a9fe:a9fe]:80",
    "http://[FE80::1%25eth0]",
    "http://[::ffff:169.254.169.254]",
    "http://[fd00:ec2::254]",
    "http://100.100.100.200",
)


def refused(name: str, text: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_one(name, text)
    assert name in caught.value.message
    assert "(environment)" in caught.value.message
    assert caught.value.hint
    return caught.value


def described(settings: Settings) -> dict[str, SettingValue]:
    return {value.name: value for value in settings.describe()}


def test_every_variable_of_the_guide_is_known() -> None:
    assert {variable.name for variable in variables().values()} == {*GUIDE_VARIABLES, *OWN_VARIABLES}


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = load_settings(environ={})
    if sys.platform == "linux":
        assert settings.database_path == tmp_path / "artifactstore" / "artifactstore.db"
        assert settings.storage_local_root == tmp_path / "artifactstore" / "storage"
    assert settings == Settings()
    assert settings.api_url is None
    assert settings.state_hub_url is None
    assert settings.s3_multipart_threshold_bytes == 67108864
    assert settings.s3_multipart_chunk_bytes == 8388608
    assert {value.origin for value in settings.describe()} == {"default"}


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().log_level = "DEBUG"  # type: ignore[misc]  # that is what is tested


def test_all_values_are_typed() -> None:
    settings = load_settings(
        environ={
            "ARTIFACTSTORE_DATABASE_URL": "sqlite:////srv/store.db",
            "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": "/srv/objects",
            "ARTIFACTSTORE_LOG_LEVEL": "debug",
            "ARTIFACTSTORE_LOG_FORMAT": "JSON",
            "ARTIFACTSTORE_NO_PROGRESS": "1",
            "ARTIFACTSTORE_AUTH_TOKENS": "one, two\nthree,,\r\n",
            "ARTIFACTSTORE_ANON_READ": "Yes",
            "ARTIFACTSTORE_API_URL": "https://store.example:8443/api/",
            "ARTIFACTSTORE_API_TOKEN": "a,b",
            "ARTIFACTSTORE_GUIDE_BOARD_SCHEMA": "other.json",
            "ARTIFACTSTORE_RETENTION_CONFIG_PATH": "retention.toml",
            "ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS": "1",
            "ARTIFACTSTORE_STORAGE_BACKENDS": "local, s3",
            "ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND": "s3",
            "ARTIFACTSTORE_STORAGE_BACKEND_ROUTES": "guide-board:release-evidence=s3,*:*=local",
            "ARTIFACTSTORE_S3_ENDPOINT_URL": "http://[::1]:9000",
            "ARTIFACTSTORE_S3_REGION": "eu-1",
            "ARTIFACTSTORE_S3_BUCKET": "artifact-store",
            "ARTIFACTSTORE_S3_KEY_PREFIX": "prod/artifact-store",
            "ARTIFACTSTORE_S3_ACCESS_KEY_REF": "env:ARTIFACTSTORE_RGW_ACCESS_KEY",
            "ARTIFACTSTORE_S3_SECRET_KEY_REF": "file:/run/secrets/artifactstore-rgw-secret",
            "ARTIFACTSTORE_S3_STORAGE_CLASS": "STANDARD",
            "ARTIFACTSTORE_S3_SSE": "aes256",
            "ARTIFACTSTORE_S3_MULTIPART_THRESHOLD_BYTES": "5242880",
            "ARTIFACTSTORE_S3_MULTIPART_CHUNK_BYTES": "5368709120",
            "STATE_HUB_URL": "http://127.0.0.1:8000",
            "STATE_HUB_WORKSTREAM_ID": "WS-1",
            "STATE_HUB_TASK_ID": "T-2",
        }
    )
    assert settings == Settings(
        database_path=Path("/srv/store.db"),
        storage_local_root=Path("/srv/objects"),
        log_level="DEBUG",
        log_format="json",
        no_progress=True,
        auth_tokens=("one", "two", "three"),
        anon_read=True,
        api_url="https://store.example:8443/api",
        api_token="a,b",  # noqa: S106 -- no real token
        guide_board_schema=Path("other.json"),
        retention_config_path=Path("retention.toml"),
        retention_sweep_interval_seconds=1,
        storage_backends=("local", "s3"),
        storage_default_backend="s3",
        storage_backend_routes=(Route("guide-board", "release-evidence", "s3"), Route("*", "*", "local")),
        s3_endpoint_url="http://[::1]:9000",
        s3_region="eu-1",
        s3_bucket="artifact-store",
        s3_key_prefix="prod/artifact-store",
        s3_access_key_ref=SecretRef("env", "ARTIFACTSTORE_RGW_ACCESS_KEY"),
        s3_secret_key_ref=SecretRef("file", "/run/secrets/artifactstore-rgw-secret"),
        s3_storage_class="STANDARD",
        s3_sse="AES256",
        s3_multipart_threshold_bytes=5 * 1024**2,
        s3_multipart_chunk_bytes=5 * 1024**3,
        state_hub_url="http://127.0.0.1:8000",
        state_hub_workstream_id="WS-1",
        state_hub_task_id="T-2",
    )


def test_precedence_and_origins(tmp_path: Path) -> None:
    env_file = tmp_path / "settings.env"
    env_file.write_text(
        "# store\nARTIFACTSTORE_LOG_LEVEL=DEBUG\nARTIFACTSTORE_S3_REGION=file\nARTIFACTSTORE_S3_BUCKET=file\n"
    )
    settings = load_settings(
        environ={"ARTIFACTSTORE_S3_REGION": "environment", "ARTIFACTSTORE_S3_BUCKET": "environment"},
        env_file=env_file,
        overrides={"ARTIFACTSTORE_S3_BUCKET": "flag", "ARTIFACTSTORE_DATABASE_URL": "mine.db"},
    )
    shown = described(settings)
    assert shown["ARTIFACTSTORE_LOG_LEVEL"] == SettingValue(
        "ARTIFACTSTORE_LOG_LEVEL", "DEBUG", f"{env_file} line 2"
    )
    assert shown["ARTIFACTSTORE_S3_REGION"].origin == "environment"
    assert settings.s3_region == "environment"
    assert settings.s3_bucket == "flag"
    assert shown["ARTIFACTSTORE_S3_BUCKET"].origin == "flag --s3-bucket"
    assert shown["ARTIFACTSTORE_DATABASE_URL"].origin == "flag --database"
    assert shown["ARTIFACTSTORE_LOG_FORMAT"].origin == "default"
    assert [value.name for value in settings.describe()] == [
        variable.name for variable in variables().values()
    ]


def test_environment_of_the_process_is_read_and_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ARTIFACTSTORE_LOG_LEVEL=DEBUG\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARTIFACTSTORE_S3_REGION", "here")
    settings = load_settings()
    assert settings.s3_region == "here"
    assert settings.log_level == "INFO"


def test_an_empty_value_means_none_where_the_default_is_empty_and_is_refused_elsewhere(
    tmp_path: Path,
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("ARTIFACTSTORE_API_URL=http://127.0.0.1:1\nARTIFACTSTORE_AUTH_TOKENS=token\n")
    settings = load_settings(
        environ={"ARTIFACTSTORE_API_URL": "", "ARTIFACTSTORE_AUTH_TOKENS": ","}, env_file=env_file
    )
    assert settings.api_url is None
    assert settings.auth_tokens == ()
    assert described(settings)["ARTIFACTSTORE_API_URL"] == SettingValue(
        "ARTIFACTSTORE_API_URL", "", "environment"
    )
    defaults = Settings()
    for attribute, variable in variables().items():
        if getattr(defaults, attribute) in (None, ()):
            assert getattr(load_one(variable.name, ""), attribute) == getattr(defaults, attribute)
        else:
            refused(variable.name, "")


def test_errors_name_a_line_of_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / "my.env"
    env_file.write_text("\nARTIFACTSTORE_ANON_READ=maybe\n")
    with pytest.raises(
        SettingsError, match=r"^ARTIFACTSTORE_ANON_READ \(.*my\.env line 2\): 'maybe'"
    ) as caught:
        load_settings(environ={}, env_file=env_file)
    assert caught.value.hint == "use one of true, 1, yes, on, false, 0, no, off"


def test_an_override_of_no_setting_is_refused() -> None:
    with pytest.raises(SettingsError, match="no setting is named '--database'"):
        load_settings(environ={}, overrides={"--database": "x"})


def test_errors_name_a_flag() -> None:
    with pytest.raises(SettingsError, match=r"\(flag --log-level\): 'loud' is not allowed"):
        load_settings(environ={}, overrides={"ARTIFACTSTORE_LOG_LEVEL": "loud"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ARTIFACTSTORE_STORAGE_LOCAL_ROOT", "s3://bucket"),
        ("ARTIFACTSTORE_STORAGE_LOCAL_ROOT", "a\nb"),
        ("ARTIFACTSTORE_STORAGE_LOCAL_ROOT", "~no-such-user-here/x"),
        ("ARTIFACTSTORE_LOG_LEVEL", "10"),
        ("ARTIFACTSTORE_LOG_FORMAT", "xml"),
        ("ARTIFACTSTORE_NO_PROGRESS", "2"),
        ("ARTIFACTSTORE_ANON_READ", " true"),
        ("ARTIFACTSTORE_API_URL", "127.0.0.1:8000"),
        ("ARTIFACTSTORE_API_URL", "ftp://host"),
        ("ARTIFACTSTORE_API_URL", "http://"),
        ("ARTIFACTSTORE_API_URL", "http://host:0"),
        ("ARTIFACTSTORE_API_URL", "http://host:port"),
        ("ARTIFACTSTORE_API_URL", "http://host:70000"),
        ("ARTIFACTSTORE_API_URL", "http://[::1"),
        ("ARTIFACTSTORE_API_URL", "http://host/\n"),
        ("ARTIFACTSTORE_API_URL", "http://host/?a=b"),
        ("ARTIFACTSTORE_API_URL", "http://host/#a"),
        ("ARTIFACTSTORE_API_URL", "http://ho st/"),
        ("STATE_HUB_URL", "file:///etc/passwd"),
        ("ARTIFACTSTORE_S3_ENDPOINT_URL", "gopher://host"),
        *((name, url) for name in SERVICES for url in LINK_LOCAL),
        ("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS", "0"),
        ("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS", "31536001"),
        ("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS", "-1"),
        ("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS", "1_000"),
        ("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS", "\u0661"),
        ("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS", "1h"),
        ("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS", "9" * 5000),
        ("ARTIFACTSTORE_STORAGE_BACKENDS", "local,tape"),
        ("ARTIFACTSTORE_STORAGE_BACKENDS", "local,"),
        ("ARTIFACTSTORE_STORAGE_BACKENDS", "local,local"),
        ("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", "guide-board=local"),
        ("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", "a:b:c=local"),
        ("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", "guide*:raw=local"),
        ("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", "*:*=local,"),
        ("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", "*:*=local,*:*=s3"),
        ("ARTIFACTSTORE_S3_REGION", "us east"),
        ("ARTIFACTSTORE_S3_BUCKET", "bucket/prefix"),
        ("ARTIFACTSTORE_S3_KEY_PREFIX", "/prod"),
        ("ARTIFACTSTORE_S3_KEY_PREFIX", "prod/../other"),
        ("ARTIFACTSTORE_S3_STORAGE_CLASS", "STANDARD IA"),
        ("ARTIFACTSTORE_S3_SSE", "rot13"),
        ("ARTIFACTSTORE_S3_MULTIPART_THRESHOLD_BYTES", "5242879"),
        ("ARTIFACTSTORE_S3_MULTIPART_CHUNK_BYTES", "5368709121"),
        ("STATE_HUB_TASK_ID", "a b"),
    ],
)
def test_unusable_values_are_refused_and_quoted(name: str, text: str) -> None:
    error = refused(name, text)
    assert "'" in error.message
    assert len(error.message) < 400
    assert error.message.isprintable()


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.169.254.1", "169.253.255.255", "s3.example", "1.example"]
)
def test_addresses_of_services(name: str, host: str) -> None:
    assert described(load_one(name, f"http://{host}:9000"))[name].text == f"http://{host}:9000"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND", "s3"),
        ("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", "guide-board:*=s3"),
    ],
)
def test_a_backend_that_is_not_configured_is_refused(name: str, text: str) -> None:
    error = refused(name, text)
    assert "ARTIFACTSTORE_STORAGE_BACKENDS (default): local" in error.message


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///var/store.db", "var/store.db"),
        ("sqlite:///./var/store.db", "var/store.db"),
        ("sqlite:////srv/store.db", "/srv/store.db"),
        ("sqlite+aiosqlite:///./var/artifactstore.db", "var/artifactstore.db"),
        ("SQLite:///store.db", "store.db"),
        ("store.db", "store.db"),
        ("/srv/me@home/store.db", "/srv/me@home/store.db"),
        ("C:store.db", "C:store.db"),
        ("./a:b", "a:b"),
    ],
)
def test_database_urls(url: str, path: str) -> None:
    assert database_path(url) == Path(path)


def test_home_directory_is_expanded_in_plain_paths_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert database_path("~/store.db") == tmp_path / "store.db"
    with pytest.raises(SettingsError, match="~ is not expanded"):
        database_path("sqlite:///~/store.db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.internal/artifactstore",
        "postgresql+asyncpg://db.internal:5432/artifactstore",
        "postgres://db.internal/x",
        "mysql://host/x",
        "file:store.db",
        "sqlite://host/store.db",
        "sqlite:store.db",
    ],
)
def test_other_databases_are_refused_with_the_decision(url: str) -> None:
    with pytest.raises(SettingsError, match="is not the URL of a SQLite file") as caught:
        database_path(url)
    assert "SQLite only" in str(caught.value.hint)
    assert "docs/adr/0005" in str(caught.value.hint)
    assert url in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["", ":memory:", "sqlite:///", "sqlite:///:memory:", "var/", "a.db?mode=ro", "sqlite:///a.db?mode=ro"],
)
def test_databases_that_are_no_file_or_have_options_are_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        database_path(url)


SECRET = "hunter2-Zq9"  # noqa: S105 -- no real secret


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ARTIFACTSTORE_DATABASE_URL", f"postgresql://artifactstore:{SECRET}@db/x"),
        ("ARTIFACTSTORE_DATABASE_URL", f"postgresql://me:p@{SECRET}@db/x"),
        ("ARTIFACTSTORE_DATABASE_URL", f"postgresql://me:{SECRET}?@db/x"),
        ("ARTIFACTSTORE_DATABASE_URL", f"postgresql://db/x?password={SECRET}"),
        ("ARTIFACTSTORE_DATABASE_URL", f"postgresql://db/x?password=a@{SECRET}"),
        ("ARTIFACTSTORE_DATABASE_URL", f"postgresql:/me:{SECRET}@db/x"),
        ("ARTIFACTSTORE_STORAGE_LOCAL_ROOT", f"s3://key:{SECRET}@bucket"),
        ("ARTIFACTSTORE_AUTH_TOKENS", f"fine,{SECRET} {SECRET}"),
        ("ARTIFACTSTORE_AUTH_TOKENS", f"{SECRET}\u00e9"),
        ("ARTIFACTSTORE_API_TOKEN", f"{SECRET}\n"),
        ("ARTIFACTSTORE_API_URL", f"ftp://me:{SECRET}@host/"),
        ("ARTIFACTSTORE_API_URL", f"http://host:{SECRET}@/"),
        ("ARTIFACTSTORE_API_URL", f"http://me:{SECRET}\uff20@host/"),
        ("ARTIFACTSTORE_S3_ENDPOINT_URL", f"https://host/?token={SECRET}"),
        ("STATE_HUB_URL", f"https://host/#{SECRET}"),
        ("ARTIFACTSTORE_S3_SECRET_KEY_REF", SECRET),
        ("ARTIFACTSTORE_S3_SECRET_KEY_REF", f"env:{SECRET}"),
        ("ARTIFACTSTORE_S3_ACCESS_KEY_REF", f"file:{SECRET}"),
        ("ARTIFACTSTORE_S3_ACCESS_KEY_REF", f"file://{SECRET}/x"),
        ("ARTIFACTSTORE_S3_ACCESS_KEY_REF", f"vault:{SECRET}"),
    ],
)
def test_refused_secrets_are_not_quoted(name: str, text: str) -> None:
    error = refused(name, text)
    assert SECRET not in f"{error.message} {error.hint} {error!r}"
    assert error.__cause__ is None
    assert error.__suppress_context__


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=",@/?#"), min_size=8))
def test_accepted_secrets_are_masked(token: str) -> None:
    password = "".join(f"%{byte:02X}" for byte in token.encode())
    settings = load_settings(
        environ={
            "ARTIFACTSTORE_AUTH_TOKENS": f"{token},{token}x",
            "ARTIFACTSTORE_API_TOKEN": token,
            "ARTIFACTSTORE_API_URL": f"https://me:{password}@store.example/api",
            "ARTIFACTSTORE_S3_ENDPOINT_URL": f"https://{password}@s3.example",
            "STATE_HUB_URL": f"https://me:{password}@hub.example",
        }
    )
    assert settings.auth_tokens == (token, f"{token}x")
    assert settings.api_token == token
    assert password in str(settings.api_url)
    shown = described(settings)
    assert shown["ARTIFACTSTORE_AUTH_TOKENS"].text == "***"
    assert shown["ARTIFACTSTORE_API_TOKEN"].text == "***"
    assert shown["ARTIFACTSTORE_API_URL"].text == "https://***@store.example/api"
    assert shown["ARTIFACTSTORE_S3_ENDPOINT_URL"].text == "https://***@s3.example"
    assert shown["STATE_HUB_URL"].text == "https://***@hub.example"
    assert password not in repr(settings)
    # Only the secret fields are compared: a token may happen to be a piece of an ordinary value.
    assert "ARTIFACTSTORE_API_TOKEN='***'" in repr(settings)
    assert "ARTIFACTSTORE_AUTH_TOKENS='***'" in repr(settings)


def test_described_values_can_be_read_again() -> None:
    environ = {
        "ARTIFACTSTORE_STORAGE_BACKENDS": "local,s3",
        "ARTIFACTSTORE_STORAGE_BACKEND_ROUTES": "guide-board:release-evidence=s3,*:*=local",
        "ARTIFACTSTORE_S3_ACCESS_KEY_REF": "env:KEY",
        "ARTIFACTSTORE_ANON_READ": "on",
        "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": "~",
        "ARTIFACTSTORE_STORAGE_URL_SECOND": "file:///srv/with%20blank/%25/%23",
        "ARTIFACTSTORE_STORAGE_URL_BYTES": "file:///srv/%FF",
    }
    settings = load_settings(environ=environ)
    again = load_settings(environ={value.name: value.text for value in settings.describe()})
    assert again == settings


def test_further_backends_have_names_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(
        "ARTIFACTSTORE_STORAGE_URL_SECOND=file:///srv/file\n"
        "ARTIFACTSTORE_STORAGE_URL_OFF_SITE_2=FILE://localhost/srv/a%20b\n"
        "ARTIFACTSTORE_STORAGE_URL_UNSET=file:///srv/unset\n"
    )
    settings = load_settings(
        environ={
            "ARTIFACTSTORE_STORAGE_URL_SECOND": "file:///srv/environment",
            "ARTIFACTSTORE_STORAGE_URL_UNSET": "",
        },
        env_file=env_file,
    )
    assert settings.storage_urls == {"off-site-2": Path("/srv/a b"), "second": Path("/srv/environment")}
    assert settings.describe()[-2:] == (
        SettingValue("ARTIFACTSTORE_STORAGE_URL_OFF_SITE_2", "file:///srv/a%20b", f"{env_file} line 2"),
        SettingValue("ARTIFACTSTORE_STORAGE_URL_SECOND", "file:///srv/environment", "environment"),
    )
    assert caplog.messages == []
    assert "file:///srv/environment" in repr(settings)
    assert hash(settings) == hash(dataclasses.replace(settings))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ARTIFACTSTORE_STORAGE_URL_", "the name ends with no id of a backend"),
        ("ARTIFACTSTORE_STORAGE_URL_second", "the name ends with no id of a backend"),
        ("ARTIFACTSTORE_STORAGE_URL_A__B", "the name ends with no id of a backend"),
        ("ARTIFACTSTORE_STORAGE_URL_LOCAL", "the id 'local' has a meaning of its own"),
        ("ARTIFACTSTORE_STORAGE_URL_S3", "the id 's3' has a meaning of its own"),
    ],
)
def test_names_of_further_backends_that_are_refused(name: str, said: str) -> None:
    assert said in refused(name, "file:///srv/x").message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"s3://key:{SECRET}@bucket", "this version has no backend for s3: URLs"),
        (f"HTTPS://{SECRET}@host/x", "this version has no backend for https: URLs"),
        (f"file://me:{SECRET}@host/srv", "is not the URL of a local directory"),
        (f"file:///srv?key={SECRET}", "is not the URL of a local directory"),
        (f"file:///srv#{SECRET}", "is not the URL of a local directory"),
        (f"{SECRET}", "is not the URL of a local directory"),
        ("/srv/plain", "is not the URL of a local directory"),
        ("file:srv", "is not the URL of a local directory"),
        ("file://relative/srv", "is not the URL of a local directory"),
        ("file:///a b", "is not the URL of a local directory"),
        ("file:///", "'/' is no directory for objects"),
        ("file:///..", "is no directory for objects"),
        ("file:///a%00b", "is no directory for objects"),
        ("file:///a%0Ab", "is no directory for objects"),
    ],
)
def test_urls_of_further_backends_that_are_refused(text: str, said: str) -> None:
    error = refused("ARTIFACTSTORE_STORAGE_URL_SECOND", text)
    assert said in error.message
    assert error.message.isprintable()
    assert SECRET not in f"{error.message} {error.hint} {error!r}"
    assert error.__cause__ is None


def test_a_path_that_is_not_utf8_can_be_shown() -> None:
    settings = load_one("ARTIFACTSTORE_STORAGE_LOCAL_ROOT", os.fsdecode(b"/srv/\xff"))
    assert os.fsencode(settings.storage_local_root) == b"/srv/\xff"
    assert described(settings)["ARTIFACTSTORE_STORAGE_LOCAL_ROOT"].text == r"/srv/\udcff"


def test_unknown_names_are_warned_of_once_with_the_nearest_known_name(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("ARTIFACTSTORE_DATABSE_URL=x\nARTIFACTSTORE_QQQ=secret\nOTHER=x\nSTATE_HUB_X=1\n")
    with caplog.at_level(logging.WARNING, logger="artifactstore.environment"):
        load_settings(
            environ={
                "ARTIFACTSTORE_DATABSE_URL": "y",
                "ARTIFACTSTORE_ANON_REED": "true",
                "ARTIFACTSTORE_RGW_ACCESS_KEY": "secret",
                "ARTIFACTSTORE_S3_ACCESS_KEY_REF": "env:ARTIFACTSTORE_RGW_ACCESS_KEY",
                "PATH": "/bin",
            },
            env_file=env_file,
        )
    assert [record.name for record in caplog.records] == ["artifactstore.environment"] * 3
    assert caplog.messages == [
        "unknown setting ARTIFACTSTORE_ANON_REED (environment); did you mean ARTIFACTSTORE_ANON_READ?",
        "unknown setting ARTIFACTSTORE_DATABSE_URL (environment); did you mean ARTIFACTSTORE_DATABASE_URL?",
        f"unknown setting ARTIFACTSTORE_QQQ ({env_file} line 2)",
    ]


def test_default_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_env_file() is None
    Path(".env").mkdir()
    assert default_env_file() is None
    Path(".env").rmdir()
    Path(".env").write_text("ARTIFACTSTORE_ANON_READ=true\n")
    settings = load_settings(environ={}, env_file=default_env_file())
    assert described(settings)["ARTIFACTSTORE_ANON_READ"].origin == ".env line 1"


def test_a_settings_file_counts_only_where_the_program_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ARTIFACTSTORE_ANON_READ=true\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert default_env_file() is None
    # And no name of another program's changes anything, not even one that programs look at.
    (tmp_path / "below" / ".env").write_text("PATH=/evil\nLD_PRELOAD=/evil.so\nPYTHONPATH=/evil\nCI=true\n")
    before = dict(os.environ)
    assert load_settings(environ={}, env_file=default_env_file()) == load_settings(environ={})
    assert dict(os.environ) == before


def test_env_example_names_exactly_the_known_variables_and_shows_the_defaults(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assignment = re.compile(r"(?m)^(?:# )?([A-Z0-9_]+)=(.*)$")
    named = assignment.findall(text)
    further = "ARTIFACTSTORE_STORAGE_URL_OFF_SITE"
    known = [variable.name for variable in variables().values()]
    options = "ARTIFACTSTORE_STORAGE_OPTIONS_OFF_SITE"
    assert sorted(name for name, _ in named) == sorted([*known, further, options])
    for match in assignment.finditer(text):
        above = text[: match.start()].splitlines()[-1]
        assert above.startswith("# ")
        assert "Default: " in above

    as_it_is = load_settings(environ={}, env_file=ROOT / ".env.example")
    assert as_it_is == Settings(
        database_path=Path("var/artifactstore.db"), storage_local_root=Path("var/storage")
    )
    uncommented = tmp_path / ".env"
    uncommented.write_text(assignment.sub(r"\1=\2", text), encoding="utf-8")
    settings = load_settings(environ={}, env_file=uncommented)
    root = Path("/srv/artifactstore-off-site")
    assert settings == dataclasses.replace(as_it_is, storage_urls={"off-site": root})
    assert all("line" in value.origin for value in settings.describe())


def test_importing_settings_is_cheap() -> None:
    script = (
        "import sys, artifactstore.environment\n"
        "heavy = {'platformdirs', 'difflib', 'tomllib', 'urllib.request', 'typer', 'asyncio', 'http'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
        "artifactstore.environment.load_settings(environ={'ARTIFACTSTORE_DATABASE_URL': 'a',"
        " 'ARTIFACTSTORE_STORAGE_LOCAL_ROOT': 'b'})\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "\n\n"
