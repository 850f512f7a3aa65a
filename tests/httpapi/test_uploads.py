"""Upload sessions: in parts, over breaks and restarts; nothing is left of those that end otherwise."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from store.harness import LARGE, SAID, FakeClock, Home, incompressible

from artifactstore import ConflictError, IntegrityError, InvalidInputError, NotFoundError, StateError
from artifactstore.digest import Digest, digest_pair, object_key
from artifactstore.uploads import LIFETIME, Uploads
from httpapi.harness import PATIENCE, Client, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from artifactstore import Package, Store
    from artifactstore.httpapi import Server
    from artifactstore.upload_files import Upload

DATA = incompressible(300_000)
WHOLE = f"blake3:{digest_pair(DATA).blake3.hex()}"


def begun(client: Client, **said: object) -> str:
    """The address of a new session for `big.bin`."""
    package = client.package()
    wanted = {"package": package, "relative_path": "big.bin", **said}
    return client("POST", "/uploads", wanted, status=201).fields["location"]


def leftovers(home: Home) -> list[Path]:
    """What lies in the folder of sessions."""
    folder = home.database.with_name(f"{home.database.name}.uploads")
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_file_in_three_parts(store: Store, home: Home, client: Client) -> None:
    where = begun(client, expected_size=len(DATA), expected_digest=WHOLE, executable=True)
    for start, end in ((0, 100_000), (100_000, 100_001), (100_001, len(DATA))):
        answer = client("PATCH", where, DATA[start:end], Upload_Offset=str(start), status=200)
        assert answer.fields["upload-offset"] == str(end)
        assert answer.document["offset"] == end
        assert client("HEAD", where, status=200).fields["upload-offset"] == str(end)
    file = client("POST", f"{where}/complete", status=201).document
    assert file["digest"] == WHOLE
    assert file["executable"]
    assert client("GET", f"/files/{file['file_id']}/content").body == DATA
    assert [path.suffix for path in leftovers(home)] == [".json"]
    again = client("POST", f"{where}/complete", status=201).document
    assert again == file
    assert [event.type for event in store.events()][-2:] == ["v1.package.created", "v1.file.ingested"]
    assert store.events()[-1].actor == "ci"


def test_the_whole_at_once(client: Client) -> None:
    where = begun(client)
    client("PATCH", where, b"rubbish", Upload_Offset="0", status=200)
    assert client("PUT", where, DATA, status=200).document["offset"] == len(DATA)
    assert client("POST", f"{where}/complete", status=201).document["digest"] == WHOLE


def test_an_empty_file(client: Client) -> None:
    where = begun(client, expected_size=0)
    assert client("POST", f"{where}/complete", status=201).document["size"] == 0


def test_wrong_bytes_are_refused_and_leave_nothing(home: Home, client: Client) -> None:
    where = begun(client, expected_digest=WHOLE)
    client("PATCH", where, b"wrong", Upload_Offset="0", status=200)
    before = home.snapshot()
    assert client("POST", f"{where}/complete", status=422).document["code"] == "digest-mismatch"
    assert leftovers(home) == []
    after = home.snapshot()
    assert (after.tables, after.objects) == (before.tables, before.objects)
    client("HEAD", where, status=404)


def test_too_few_bytes_are_not_complete(client: Client) -> None:
    where = begun(client, expected_size=5)
    client("PATCH", where, b"123", Upload_Offset="0", status=200)
    assert client("POST", f"{where}/complete", status=409).document["code"] == "upload-incomplete"
    client("PATCH", where, b"45", Upload_Offset="3", status=200)
    client("POST", f"{where}/complete", status=201)


def test_more_than_was_announced_is_refused(client: Client) -> None:
    where = begun(client, expected_size=3)
    assert client("PATCH", where, b"four", Upload_Offset="0", status=422).document["code"] == "size-mismatch"
    assert client("HEAD", where).fields["upload-offset"] == "0"


def content_digest(data: bytes) -> str:
    """The field of RFC 9530."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


@pytest.mark.parametrize("field", ["Content_Digest", "Artifactstore_Digest"])
def test_a_part_has_the_digest_that_its_request_says(client: Client, field: str) -> None:
    part = DATA[:100_000]
    right, wrong = (
        content_digest(each) if field == "Content_Digest" else f"blake3:{digest_pair(each).blake3.hex()}"
        for each in (part, DATA)
    )
    where = begun(client)
    client("PATCH", where, b"12345", Upload_Offset="0", status=200)
    refused = client("PATCH", where, part, Upload_Offset="5", status=422, **{field: wrong})
    assert refused.document["code"] == "digest-mismatch"
    assert client("HEAD", where).fields["upload-offset"] == "5"
    client("PATCH", where, part, Upload_Offset="5", status=200, **{field: right})
    assert client("PUT", where, part, status=422, **{field: wrong}).document["code"] == "digest-mismatch"
    assert client("HEAD", where).fields["upload-offset"] == "0"
    client("PUT", where, part, status=200, **{field: right})
    client("PATCH", where, part, Upload_Offset="100000", status=422, **{field: "sha-256=:!:"})
    assert client("POST", f"{where}/complete", status=201).document["size"] == len(part)


def test_a_digest_of_the_whole_is_none_of_a_part(client: Client) -> None:
    where = begun(client)
    said = content_digest(DATA)
    client("PATCH", where, DATA[:9], Upload_Offset="0", Repr_Digest=said, status=422)
    assert client("HEAD", where).fields["upload-offset"] == "0"
    client("PUT", where, DATA[:9], Repr_Digest=said, status=422)
    client("PUT", where, DATA, Repr_Digest=said, status=200)


@pytest.mark.parametrize("offset", ["1", "4", "6", "999999999999"])
def test_a_wrong_offset_is_409_and_changes_nothing(client: Client, offset: str) -> None:
    where = begun(client)
    client("PATCH", where, b"12345", Upload_Offset="0", status=200)
    assert client("PATCH", where, b"x", Upload_Offset=offset, status=409).document["code"] == "wrong-offset"
    assert client("HEAD", where).fields["upload-offset"] == "5"


def test_an_offset_is_needed_and_is_a_number(client: Client) -> None:
    where = begun(client)
    client("PATCH", where, b"x", status=428)
    for offset in ("-1", "1.0", "a", "0x1", "1" * 30):
        client("PATCH", where, b"x", Upload_Offset=offset, status=400)


def test_cancel_leaves_nothing(home: Home, client: Client) -> None:
    where = begun(client)
    client("PATCH", where, DATA, Upload_Offset="0", status=200)
    assert client("DELETE", where, status=204).body == b""
    assert leftovers(home) == []
    for method in ("GET", "HEAD", "DELETE"):
        client(method, where, status=404)
    client("PATCH", where, b"x", Upload_Offset="0", status=404)
    client("POST", f"{where}/complete", status=404)


def test_a_session_is_that_of_its_token_alone(client: Client, writer: Client, operator: Client) -> None:
    where = begun(client)
    for other in (writer, operator):
        other("GET", where, status=404)
        other("PATCH", where, b"x", Upload_Offset="0", status=404)
        other("POST", f"{where}/complete", status=404)
        other("DELETE", where, status=404)
    client("GET", where, status=200)


@pytest.mark.parametrize("upload", ["0" * 32, "..-..-etc", "x", "A" * 36])
def test_what_is_no_session_is_404(client: Client, upload: str) -> None:
    client("GET", f"/uploads/{upload}", status=404)
    client("DELETE", f"/uploads/{upload}", status=404)


def test_what_the_package_cannot_take_is_refused_at_once(home: Home, client: Client) -> None:
    package = client.finalized({"a": b"a"})
    wanted = {"package": package, "relative_path": "b"}
    assert client("POST", "/uploads", wanted, status=409).document["code"] == "package-finalized"
    opened = client.package()
    client("PUT", f"/packages/{opened}/files/a", b"a", status=201)
    for path, status in (("a", 409), ("a/b", 409), ("../a", 422), ("", 422)):
        client("POST", "/uploads", {"package": opened, "relative_path": path}, status=status)
    client("POST", "/uploads", {"package": "0" * 32, "relative_path": "b"}, status=404)
    client("POST", "/uploads", {"package": opened, "relative_path": "b", "expected_size": -1}, status=422)
    client("POST", "/uploads", {"package": opened, "relative_path": "b", "media_type": "x"}, status=422)
    assert leftovers(home) == []


def test_the_same_key_returns_the_same_session(client: Client, operator: Client) -> None:
    package = client.package()
    wanted = {"package": package, "relative_path": "a", "expected_size": 5}
    first = client("POST", "/uploads", wanted, Idempotency_Key="k", status=201).document
    client("PATCH", f"/uploads/{first['upload_id']}", b"12", Upload_Offset="0", status=200)
    again = client("POST", "/uploads", wanted, Idempotency_Key="k", status=201).document
    assert (again["upload_id"], again["offset"]) == (first["upload_id"], 2)
    other = {**wanted, "expected_size": 6}
    refused = client("POST", "/uploads", other, Idempotency_Key="k", status=409)
    assert refused.document["code"] == "idempotency-conflict"
    foreign = operator("POST", "/uploads", wanted, Idempotency_Key="k", status=201).document
    assert foreign["upload_id"] != first["upload_id"]


def test_a_session_survives_a_restart(home: Home) -> None:
    with home.open() as store, serving(store) as server:
        client = Client(server)
        where = begun(client, expected_digest=WHOLE)
        client("PATCH", where, DATA[:1000], Upload_Offset="0", status=200)
        client.close()
    with home.open() as store, serving(store) as server:
        client = Client(server)
        assert client("HEAD", where, status=200).fields["upload-offset"] == "1000"
        client("PATCH", where, DATA[1000:], Upload_Offset="1000", status=200)
        assert client("POST", f"{where}/complete", status=201).document["digest"] == WHOLE
        client.close()


def test_what_came_before_a_break_stays(server: Server, client: Client) -> None:
    where = begun(client)
    head = (
        f"PATCH {where} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {client.token}\r\n"
        f"Upload-Offset: 0\r\nContent-Length: {len(DATA)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(head.encode() + DATA[:200_000])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert client("HEAD", where).fields["upload-offset"] == "200000"
    client("PATCH", where, DATA[200_000:], Upload_Offset="200000", status=200)
    assert client("POST", f"{where}/complete", status=201).document["digest"] == WHOLE


def test_two_requests_do_not_mix(store: Store, server: Server, client: Client) -> None:
    where = begun(client)
    head = (
        f"PATCH {where} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {client.token}\r\n"
        f"Upload-Offset: 0\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")  # now it holds the session
        refused = client("PATCH", where, b"x", Upload_Offset="0", status=409)
        assert refused.document["code"] == "upload-busy"
        client("DELETE", where, status=409)
        client("POST", f"{where}/complete", status=409)
        connection.sendall(b"0123456789")
        assert b"200 OK" in connection.recv(1 << 16)
    client("POST", f"{where}/complete", status=201)
    assert store.events()[-1].payload["size"] == 10


# The library by itself, where time can be moved


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
def uploads(store: Store) -> Uploads:
    """The sessions of the store."""
    return store.uploads()


def test_a_session_expires_a_day_after_its_last_request(
    store: Store, home: Home, uploads: Uploads, clock: FakeClock
) -> None:
    package = store.create_package(**SAID)
    upload = uploads.create(package, "a", owner="ci")
    other = uploads.create(package, "b", owner="ci")
    clock.now += (LIFETIME - 60) * 1_000_000
    uploads.append(upload.upload_id, [b"123"], offset=0, owner="ci")
    clock.now += 120 * 1_000_000
    assert uploads.get(upload.upload_id, owner="ci").offset == 3
    with pytest.raises(NotFoundError):
        uploads.get(other.upload_id, owner="ci")
    assert uploads.remove_expired() == 1
    clock.now += LIFETIME * 1_000_000
    assert uploads.remove_expired() == 1
    assert leftovers(home) == []


def test_sessions_that_are_over_give_their_places_to_new_ones(
    store: Store, uploads: Uploads, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifactstore.uploads.SESSIONS_MAX", 5)
    package = store.create_package(**SAID)
    for number in range(5):
        uploads.create(package, f"{number}", owner="ci", idempotency_key=f"{number}")
    with pytest.raises(StateError) as caught:
        uploads.create(package, "more", owner="ci")
    assert caught.value.code == "too-many-uploads"
    assert uploads.create(package, "4", owner="ci", idempotency_key="4").offset == 0
    clock.now += 2 * LIFETIME * 1_000_000
    uploads.create(package, "more", owner="ci")
    assert uploads.remove_expired() == 0


def test_a_server_removes_what_has_expired(
    store: Store, home: Home, uploads: Uploads, clock: FakeClock
) -> None:
    uploads.create(store.create_package(**SAID), "a", owner="ci")
    clock.now += 2 * LIFETIME * 1_000_000
    with serving(store) as server:
        with server.change:
            assert server.change.wait_for(lambda: server.service.tended, PATIENCE)
        for thread in threading.enumerate():
            if thread.name == "artifactstore-uploads":
                thread.join(PATIENCE)
    assert leftovers(home) == []


def test_rubbish_in_the_folder_is_no_session(home: Home, store: Store, uploads: Uploads) -> None:
    package = store.create_package(**SAID)
    upload = uploads.create(package, "a", owner="ci")
    folder = leftovers(home)[0].parent
    (folder / f"{upload.upload_id}.json").write_text("{}")
    (folder / "README").write_text("not ours")
    with pytest.raises(NotFoundError):
        uploads.get(upload.upload_id, owner="ci")
    uploads.remove_expired()
    assert [path.name for path in leftovers(home)] == ["README"]


def test_bytes_that_nobody_acknowledged_are_overwritten(home: Home, store: Store, uploads: Uploads) -> None:
    """What a crash in the middle of a request leaves behind the offset."""
    upload = uploads.create(store.create_package(**SAID), "a", owner="ci")
    uploads.append(upload.upload_id, [b"12345"], offset=0, owner="ci")
    part = leftovers(home)[1]
    part.write_bytes(b"12345\0\0\0\0\0garbage")
    uploads.append(upload.upload_id, [b"6789"], offset=5, owner="ci")
    file = uploads.complete(upload.upload_id, owner="ci", actor="ada")
    assert store.read_file(file.package_id, "a") == b"123456789"


def test_what_a_crash_left_behind_the_offset_is_not_evidence(
    home: Home, store: Store, uploads: Uploads
) -> None:
    upload = uploads.create(store.create_package(**SAID), "a", owner="ci")
    uploads.append(upload.upload_id, [b"12345"], offset=0, owner="ci")
    leftovers(home)[1].write_bytes(b"12345garbage")
    file = uploads.complete(upload.upload_id, owner="ci", actor="ada")
    assert store.read_file(file.package_id, "a") == b"12345"


def test_a_source_that_fails_keeps_what_came(store: Store, uploads: Uploads) -> None:
    upload = uploads.create(store.create_package(**SAID), "a", owner="ci")

    def chunks() -> Iterator[bytes]:
        yield b"12345"
        raise RuntimeError("the network is gone")

    with pytest.raises(RuntimeError):
        uploads.append(upload.upload_id, chunks(), offset=0, owner="ci")
    assert uploads.get(upload.upload_id, owner="ci").offset == 5


def test_a_complete_that_cannot_be_keeps_the_session(store: Store, uploads: Uploads) -> None:
    package = store.create_package(**SAID)
    upload = uploads.create(package, "a", owner="ci")
    uploads.append(upload.upload_id, [b"123"], offset=0, owner="ci")
    store.ingest_file(package, "b", b"b", actor="ada")
    store.finalize_package(package, actor="ada")
    with pytest.raises(StateError):
        uploads.complete(upload.upload_id, owner="ci", actor="ada")
    assert uploads.get(upload.upload_id, owner="ci").offset == 3
    uploads.cancel(upload.upload_id, owner="ci")


def test_a_complete_session_takes_no_more(store: Store, uploads: Uploads) -> None:
    upload = uploads.create(
        store.create_package(**SAID), "a", owner="ci", expected_digest=Digest.parse(WHOLE)
    )
    uploads.append(upload.upload_id, [DATA], offset=0, owner="ci")
    uploads.complete(upload.upload_id, owner="ci", actor="ada")
    for call in (
        lambda: uploads.append(upload.upload_id, [b"x"], offset=len(DATA), owner="ci"),
        lambda: uploads.restart(upload.upload_id, owner="ci"),
    ):
        with pytest.raises(StateError) as caught:
            call()
        assert caught.value.code == "upload-complete"


def test_an_acknowledged_part_that_is_gone_is_told(home: Home, store: Store, uploads: Uploads) -> None:
    upload = uploads.create(store.create_package(**SAID), "a", owner="ci")
    uploads.append(upload.upload_id, [b"12345"], offset=0, owner="ci")
    leftovers(home)[1].write_bytes(b"123")
    with pytest.raises(IntegrityError):
        uploads.append(upload.upload_id, [b"6"], offset=5, owner="ci")
    with pytest.raises(IntegrityError):
        uploads.complete(upload.upload_id, owner="ci", actor="ada")
    uploads.cancel(upload.upload_id, owner="ci")
    assert leftovers(home) == []


def test_a_large_upload(store: Store, uploads: Uploads) -> None:
    data = incompressible(LARGE + 5)
    upload = uploads.create(store.create_package(**SAID), "a", owner="ci")
    pieces = [data[start : start + 100_000] for start in range(0, len(data), 100_000)]
    uploads.append(upload.upload_id, pieces, offset=0, owner="ci")
    file = uploads.complete(upload.upload_id, owner="ci", actor="ada")
    assert store.read_file(file.package_id, "a") == data


def test_a_key_that_was_used_otherwise(store: Store, uploads: Uploads) -> None:
    package = store.create_package(**SAID)
    uploads.create(package, "a", owner="ci", idempotency_key="k")
    with pytest.raises(ConflictError):
        uploads.create(package, "b", owner="ci", idempotency_key="k")
    with pytest.raises(InvalidInputError):
        uploads.create(package, "c", owner="ci", expected_size=-1)


# Two requests that meet


def test_a_slow_request_takes_nothing_from_a_quicker_one_of_its_key(
    store: Store, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that got no answer in time has tried again, and gone on."""
    package, look = store.create_package(**SAID), store.check_new_file

    def begin() -> Upload:
        return uploads.create(package, "a", owner="ci", idempotency_key="k")

    def slow(*arguments: str) -> Package:
        monkeypatch.undo()
        uploads.append(begin().upload_id, [b"12345"], offset=0, owner="ci")
        return look(*arguments)

    monkeypatch.setattr(store, "check_new_file", slow)
    assert begin().offset == 5
    assert begin().offset == 5


def test_a_slow_request_does_not_begin_anew_what_is_complete(
    store: Store, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, look, files = store.create_package(**SAID), store.check_new_file, []

    def begin() -> Upload:
        return uploads.create(package, "a", owner="ci", idempotency_key="k")

    def slow(*arguments: str) -> Package:
        monkeypatch.undo()
        found = look(*arguments)
        uploads.append(begin().upload_id, [b"12345"], offset=0, owner="ci")
        files.append(uploads.complete(begin().upload_id, owner="ci", actor="ada"))
        return found

    monkeypatch.setattr(store, "check_new_file", slow)
    assert [uploads.complete(begin().upload_id, owner="ci", actor="ada")] == files


def test_a_part_is_not_written_into_a_file_that_was_removed(
    store: Store, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody cancels the upload and begins it anew, while a request has opened its file and waits."""
    package, lock = store.create_package(**SAID), fcntl.flock

    def begin() -> str:
        return uploads.create(package, "a", owner="ci", idempotency_key="k").upload_id

    def late(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        uploads.cancel(upload_id, owner="ci")
        begin()
        lock(descriptor, how)

    upload_id = begin()
    uploads.append(upload_id, [b"first"], offset=0, owner="ci")
    uploads.restart(upload_id, owner="ci")
    monkeypatch.setattr(fcntl, "flock", late)
    assert uploads.append(upload_id, [b"12345"], offset=0, owner="ci").offset == 5
    file = uploads.complete(upload_id, owner="ci", actor="ada")
    assert store.read_file(file.package_id, "a") == b"12345"


def test_what_came_at_the_last_moment_is_not_swept(
    store: Store, uploads: Uploads, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that began in time ends between a sweep's look and its lock."""
    upload_id = uploads.create(store.create_package(**SAID), "a", owner="ci").upload_id
    lock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        clock.now -= 120 * 1_000_000
        uploads.append(upload_id, [b"12345"], offset=0, owner="ci")
        clock.now += 120 * 1_000_000
        lock(descriptor, how)

    clock.now += (LIFETIME + 60) * 1_000_000
    monkeypatch.setattr(fcntl, "flock", late)
    assert uploads.remove_expired() == 0
    assert uploads.get(upload_id, owner="ci").offset == 5


@pytest.mark.parametrize("door", ["PUT", "upload"])
@pytest.mark.parametrize("damage", ["cut", "grown", "missing", "link"])
def test_the_same_bytes_heal_an_object_of_the_wrong_size(
    home: Home, store: Store, client: Client, tmp_path: Path, door: str, damage: str
) -> None:
    first = client.finalized({"big.bin": DATA})
    path = home.objects / object_key(store.get_file(first, "big.bin").digest.value)
    path.chmod(0o600)
    if damage == "cut":
        path.write_bytes(DATA[:-1])
    elif damage == "grown":
        path.write_bytes(DATA + b"x")
    else:
        path.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(DATA)
        path.symlink_to(tmp_path / "elsewhere")
    where = f"/packages/{first}/files/big.bin"
    assert client("GET", where, status=500).document["code"] in {"integrity", "object-not-found"}
    if door == "PUT":
        client("PUT", f"/packages/{client.package()}/files/other.bin", DATA, status=201)
    else:
        session = begun(client, expected_digest=WHOLE)
        client("PATCH", session, DATA, Upload_Offset="0", status=200)
        client("POST", f"{session}/complete", status=201)
    assert client("GET", where, status=200).body == DATA
    assert not path.is_symlink()
    assert store.fsck(read=True).clean
