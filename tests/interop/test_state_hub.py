"""State Hub: told once, by an outbox that survives whatever the hub does."""

from __future__ import annotations

import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from store.harness import SAID, FakeClock, Home, refused

from artifactstore import (
    InvalidInputError,
    LinkageRequest,
    NotFoundError,
    SettingsError,
    StateError,
    Store,
    events,
)
from artifactstore.interop.guide_board import ingest_run
from artifactstore.interop.state_hub import LONGEST_WAIT, StateHub, deliver, wait_after
from interop import hub as hubs
from interop.hub import GOOD, Hub
from interop.runs import write_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "hunter2"  # noqa: S105 - nobody's
SECONDS = 1_000_000  # microseconds


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hubs.running() as found:
        yield found


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.fixture
def ingested(store: Store, run_dir: Path) -> str:
    """The id of a package whose message waits."""
    return ingest_run(store, run_dir, actor="ada", workstream_id="WS-1", task_id="T-2").package.package_id


def logged(store: Store) -> list[str]:
    return [event.type for event in store.events(limit=1000) if event.type.startswith("v1.linkage.")]


def attempt(store: Store, hub: Hub, clock: FakeClock, **further: Any) -> list[bool]:
    tried = deliver(store, StateHub(hub.url, **further), actor="ada", now=clock.now)
    return [delivery.delivered for delivery in tried]


def test_the_hub_is_told_identifiers_counts_and_verdict_only(
    store: Store, hub: Hub, clock: FakeClock, ingested: str
) -> None:
    assert attempt(store, hub, clock) == [True]
    ((path, fields, body),) = hub.told
    (link,) = store.list_linkages()
    assert path == "/progress/"
    assert body == {
        "idempotency_key": link.link_id,
        "workstream_id": "WS-1",
        "task_id": "T-2",
        "package_id": ingested,
        "manifest_digest": str(store.get_package(ingested).manifest_digest),
        "verdict": "passed",
        "counts": {"total": 3, "passed": 2, "failed": 0, "errors": 0, "skipped": 1},
    }
    assert fields["Idempotency-Key"] == link.link_id
    assert fields["Content-Type"] == "application/json"
    assert (link.state, link.attempts, link.retry_at, link.failure) == ("delivered", 1, None, None)
    # What has arrived is not sent again.
    assert attempt(store, hub, clock) == []
    assert len(hub.told) == 1
    assert store.replay().identical


def test_a_message_is_recorded_with_its_package(store: Store, ingested: str) -> None:
    found = list(store.events(limit=1000))
    kinds = [event.type for event in found if event.package_id is not None]
    assert kinds[-2:] == [events.PACKAGE_FINALIZED, events.LINKAGE_REQUESTED]
    assert found[-1].recorded_at == found[-2].recorded_at


RUDE: dict[str, tuple[Any, str]] = {
    "500": ((500, b"oops", {}), "it answered 500"),
    "404": ((404, b"", {}), "it answered 404"),
    "bad JSON": ((200, b"<html>welcome", {}), "not JSON"),
    "a flood": ((200, b" " * 100_000, {}), "too long"),
    "a redirect": ((307, b"", {"Location": "http://127.0.0.1:1/"}), "redirects are not followed"),
    "closes early": (hubs.closes_early, "broken"),
    "closes at once": (hubs.says_nothing, "it cannot be reached"),
    "no HTTP": (hubs.is_no_http, "broken"),
}


@pytest.mark.parametrize("name", RUDE)
def test_a_rude_hub_is_told_later(store: Store, hub: Hub, clock: FakeClock, ingested: str, name: str) -> None:
    answer, said = RUDE[name]
    hub.answers.append(answer)
    assert attempt(store, hub, clock) == [False]
    (link,) = store.list_linkages(undelivered=True)
    assert (link.package_id, link.state, link.attempts) == (ingested, "due", 1)
    assert said in str(link.failure)
    # Not due yet, then due.
    assert attempt(store, hub, clock) == []
    clock.now += 31 * SECONDS
    assert attempt(store, hub, clock) == [True]
    keys = {body["idempotency_key"] for _, _, body in hub.told}
    assert (len(hub.told), len(keys)) == (2, 1)
    assert logged(store) == [events.LINKAGE_REQUESTED, events.LINKAGE_FAILED, events.LINKAGE_DELIVERED]
    assert store.replay().identical


@pytest.mark.parametrize("name", ["waits", "drips"])
def test_a_slow_hub_is_cut_off(store: Store, hub: Hub, clock: FakeClock, ingested: str, name: str) -> None:
    hub.answers.append(getattr(hubs, name)(hub))
    assert attempt(store, hub, clock, time_limit=0.5) == [False]
    (link,) = store.list_linkages()
    assert link.package_id == ingested
    assert link.failure == "it did not answer in time"


def test_all_addresses_of_a_hub_share_its_time(
    store: Store, hub: Hub, clock: FakeClock, ingested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hubs.takes_no_connection() as port:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", each))
            for each in (port, port, hub.port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_further: addresses)
        assert attempt(store, hub, clock, time_limit=0.5) == [False]
    (link,) = store.list_linkages()
    assert (link.package_id, link.failure) == (ingested, "it did not answer in time")
    # The last address would have answered, but its turn came too late.
    assert hub.told == []


def test_the_next_address_is_tried_while_there_is_time(
    store: Store, hub: Hub, clock: FakeClock, ingested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    addresses = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", each))
        for each in (closed, hub.port)
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_further: addresses)
    assert attempt(store, hub, clock) == [True]
    assert hub.told[0][2]["package_id"] == ingested


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file, that no authority has signed."""
    path = tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", path, "-out", tmp_path / "public.pem", "-days", "30", "-subj", "/CN=hub",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + (tmp_path / "public.pem").read_text())
    return path


def test_a_hub_behind_tls_must_prove_who_it_is(
    store: Store, clock: FakeClock, ingested: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with hubs.running(context) as hub:
        address = StateHub(hub.url.replace("http:", "https:"))
        (refused_delivery,) = deliver(store, address, actor="ada", now=clock.now)
        assert not refused_delivery.delivered
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        (delivery,) = deliver(store, address, actor="ada", now=clock.now, everything=True)
        assert delivery.delivered
        ((_, fields, body),) = hub.told
    assert (fields["Host"], body["package_id"]) == (f"127.0.0.1:{hub.port}", ingested)


def test_a_hub_that_never_begins_tls_is_cut_off(store: Store, clock: FakeClock, ingested: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = StateHub(f"https://127.0.0.1:{server.getsockname()[1]}", time_limit=0.5)
        (delivery,) = deliver(store, address, actor="ada", now=clock.now)
    assert (delivery.linkage.package_id, delivery.linkage.failure) == (ingested, "it did not answer in time")


def test_a_hub_that_is_down(store: Store, clock: FakeClock, ingested: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert attempt(store, Hub(port), clock) == [False]
    assert "cannot be reached" in str(store.list_linkages()[0].failure)
    assert store.get_package(ingested).status == "finalized"


def test_an_empty_answer_is_enough(store: Store, hub: Hub, clock: FakeClock, ingested: str) -> None:
    hub.answers.append((204, b"", {}))
    assert attempt(store, hub, clock) == [True]
    assert store.list_linkages()[0].package_id == ingested


def test_waits_grow_to_a_limit() -> None:
    assert [wait_after(attempts) for attempts in (1, 2, 3, 4)] == [30, 60, 120, 240]
    assert wait_after(50) == wait_after(5000) == LONGEST_WAIT


def request_many(store: Store, tmp_path: Path, count: int) -> None:
    """Messages for the workstreams `WS-0`, `WS-1` and so on."""
    for number in range(count):
        package = store.push(write_run(tmp_path / str(number)), **SAID).package.package_id
        request = LinkageRequest(f"WS-{number}", None, verdict="passed", counts={})
        store.request_linkage(package, request, actor="ada")


def workstreams(hub: Hub) -> list[str]:
    return [body["workstream_id"] for _, _, body in hub.told]


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_a_hub_that_is_away_is_left_alone(
    store: Store, hub: Hub, clock: FakeClock, tmp_path: Path, status: int
) -> None:
    request_many(store, tmp_path, 3)
    hub.answers += [GOOD, (status, b"", {})]
    assert attempt(store, hub, clock) == [True, False]
    clock.now += 60 * SECONDS
    assert attempt(store, hub, clock) == [True, True]
    assert workstreams(hub) == ["WS-0", "WS-1", "WS-2", "WS-1"]


def test_messages_that_the_hub_never_takes_hold_up_no_other(
    store: Store, hub: Hub, clock: FakeClock, tmp_path: Path
) -> None:
    request_many(store, tmp_path, 4)
    missing = (404, b"", {})
    hub.answers += [missing, (400, b"", {}), missing]
    assert attempt(store, hub, clock) == [False, False, False, True]
    assert workstreams(hub) == ["WS-0", "WS-1", "WS-2", "WS-3"]
    assert [link.failure for link in store.list_linkages(undelivered=True)] == [
        "it answered 404",
        "it answered 400",
        "it answered 404",
    ]
    assert attempt(store, hub, clock) == []


def test_what_was_never_tried_comes_before_what_has_failed(
    store: Store, hub: Hub, clock: FakeClock, tmp_path: Path
) -> None:
    request_many(store, tmp_path, 2)
    hub.answers += [(404, b"", {}), (404, b"", {})]
    assert attempt(store, hub, clock) == [False, False]
    request_many(store, tmp_path / "later", 3)
    clock.now += 3600 * SECONDS
    (first, *_) = store.list_linkages(undelivered=True, due_at=clock.now, limit=1)
    assert first.attempts == 0
    deliver(store, StateHub(hub.url), actor="ada", now=clock.now)
    assert workstreams(hub)[2:] == ["WS-0", "WS-1", "WS-2", "WS-0", "WS-1"]


def test_a_message_that_arrived_meanwhile_is_recorded_once(store: Store, ingested: str) -> None:
    (link,) = store.list_linkages()
    assert link.package_id == ingested
    done = store.record_linkage_delivered(link.link_id, status=201, actor="ada")
    assert store.record_linkage_delivered(link.link_id, status=200, actor="bob") == done
    late = store.record_linkage_failed(link.link_id, reason="late", retry_at=1, actor="bob")
    assert late == done
    assert logged(store) == [events.LINKAGE_REQUESTED, events.LINKAGE_DELIVERED]


def test_the_same_run_for_another_task_is_another_message(store: Store, run_dir: Path, home: Home) -> None:
    first = ingest_run(store, run_dir, actor="ada")
    assert first.link_id is None
    second = ingest_run(store, run_dir, actor="ada", workstream_id="WS-1")
    with home.unchanged():
        assert ingest_run(store, run_dir, actor="ada", workstream_id="WS-1").link_id == second.link_id
    third = ingest_run(store, run_dir, actor="ada", workstream_id="WS-1", task_id="T-1")
    assert len({second.link_id, third.link_id}) == 2
    assert first.package.package_id == second.package.package_id == third.package.package_id


def test_what_is_no_request(store: Store, home: Home) -> None:
    with refused(InvalidInputError, "invalid-field", "workstream or a task"):
        LinkageRequest(None, None, verdict="passed", counts={})
    with refused(InvalidInputError, "invalid-field", "verdict"):
        LinkageRequest("WS", None, verdict="", counts={})
    with refused(InvalidInputError, "invalid-input", "count total"):
        LinkageRequest("WS", None, verdict="passed", counts={"total": True})
    package = store.create_package(**SAID)
    request = LinkageRequest("WS", None, verdict="passed", counts={})
    with home.unchanged():
        with refused(StateError, "not-finalized", package):
            store.request_linkage(package, request, actor="ada")
        with refused(NotFoundError, "not-found", "no linkage"):
            store.record_linkage_delivered("01a20551-ab3b-72ac-9843-4b2eba478e23", status=1, actor="ada")
        with refused(InvalidInputError, "invalid-input", "'x'"):
            store.record_linkage_failed("x", reason="r", retry_at=1, actor="ada")


@pytest.mark.parametrize(
    "url",
    [f"http://me:{SECRET}@h/", f"http://h/?key={SECRET}", "ftp://h/", "h:80", f"http://h/#{SECRET}", ""],
)
def test_an_address_with_secrets_is_refused_without_showing_them(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        StateHub(url)
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "[fe80::1]", "[::ffff:169.254.169.254]"])
def test_a_link_local_address_is_no_hub(host: str) -> None:
    with pytest.raises(SettingsError, match="link-local"):
        StateHub(f"http://{host}/latest")


@pytest.mark.parametrize("url", ["http://h:99999", f"http://h:{SECRET}", "http://[::1"])
def test_an_address_that_is_malformed_is_refused(url: str) -> None:
    with refused(InvalidInputError, "invalid-input", "State Hub") as caught:
        StateHub(url)
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"


def test_a_hub_below_a_path(store: Store, hub: Hub, clock: FakeClock, ingested: str) -> None:
    deliver(store, StateHub(f"{hub.url}/team/hub/"), actor="ada", now=clock.now)
    assert [path for path, _, _ in hub.told] == ["/team/hub/progress/"]
    assert store.list_linkages()[0].package_id == ingested
