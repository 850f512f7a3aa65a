"""The rows of calls that go through a server, too.

Its threads take turns as the system likes, so they are killed only; what the calls behind the routes do on a
disk that fails, their own rows show.
"""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from artifactstore import BackendError
from artifactstore.digest import digest_pair
from artifactstore.httpapi import make_server
from crash import packages, upkeep
from crash.changing_call import KEPT, ChangingCall

if TYPE_CHECKING:
    from artifactstore import Store
    from crash.place import Place


def _asked(place: Place, store: Store, method: str, path: str, body: bytes = b"") -> None:
    """A request to a server of the store in this process; one that is refused raises."""
    server = make_server(store, tokens=["ci:read+write+admin:secret"])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        fields = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        connection.request(method, path, body, {**fields, "Idempotency-Key": place.root.name})
        response = connection.getresponse()
        said = response.read()
        connection.close()
    finally:
        server.stop()
        thread.join()
    if response.status >= 400:
        raise BackendError(f"the server answered {response.status}: {said!r}")


ROUTES: tuple[ChangingCall, ...] = (
    ChangingCall(
        "HTTP create",
        lambda place, store: _asked(
            place, store, "POST", "/packages", b'{"name": "nightly", "producer": "ci", "subject": "app"}'
        ),
        lambda _p, store: packages.of_subject(store, "open") == 1,
    ),
    ChangingCall(
        "HTTP file",
        lambda place, store: _asked(
            place, store, "PUT", f"/packages/{place.noted('package')}/files/new", b"new bytes"
        ),
        lambda place, store: packages.files(place, store) == ["new"],
        packages.open_package,
    ),
    ChangingCall(
        "HTTP finalize",
        lambda place, store: _asked(place, store, "POST", f"/packages/{place.noted('package')}/finalize"),
        lambda place, store: packages.status(place, store) == "finalized",
        packages.filled,
    ),
    ChangingCall(
        "HTTP hold",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            f"/packages/{place.noted('package')}/retention/holds",
            b'{"reason": "case 7"}',
        ),
        lambda place, store: len(store.explain_retention(place.noted("package")).holds) == 1,
        packages.pushed,
    ),
    ChangingCall(
        "HTTP known files",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            f"/packages/{place.noted('package')}/files",
            b'{"files": [{"relative_path": "known", "digest": "blake3:%b"}]}'
            % digest_pair(KEPT["shared.log"]).blake3.hex().encode(),
        ),
        lambda place, store: packages.files(place, store) == ["known"],
        packages.open_package,
    ),
    ChangingCall(
        "HTTP extend",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            f"/packages/{place.noted('package')}/retention/extend",
            b'{"forever": true}',
        ),
        upkeep.has_history("extended"),
        packages.pushed,
    ),
    ChangingCall(
        "HTTP release",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            f"/packages/{place.noted('package')}/retention/holds/{place.noted('hold')}/release",
            b'{"reason": "closed"}',
        ),
        upkeep.has_history("released"),
        upkeep.held,
    ),
    ChangingCall(
        "HTTP sweep",
        lambda place, store: _asked(place, store, "POST", "/retention/sweep"),
        upkeep.has_history("eligible"),
        upkeep.expiring,
        days=2,
    ),
    ChangingCall(
        "HTTP gc",
        lambda place, store: _asked(place, store, "POST", "/retention/gc"),
        upkeep.is_collected,
        upkeep.eligible,
    ),
    ChangingCall(
        "HTTP schema",
        lambda place, store: _asked(
            place, store, "POST", "/metadata-schemas", b'{"slug": "run.v1", "schema": {"type": "object"}}'
        ),
        lambda _p, store: bool(store.list_metadata_schemas()),
    ),
    ChangingCall(
        "HTTP upload begun",
        lambda place, store: _asked(
            place,
            store,
            "POST",
            "/uploads",
            b'{"package": "%b", "relative_path": "sent"}' % place.noted("package").encode(),
        ),
        packages.has_begun_upload,
        packages.open_package,
    ),
    ChangingCall(
        "HTTP upload cancelled",
        lambda place, store: _asked(place, store, "DELETE", f"/uploads/{place.noted('upload')}"),
        lambda place, store: packages.sent(place, store) < 0,
        packages.whole_upload,
    ),
    ChangingCall(
        "HTTP upload part",
        lambda place, store: _asked(
            place, store, "PUT", f"/uploads/{place.noted('upload')}", packages.UPLOADED
        ),
        lambda place, store: packages.sent(place, store) == len(packages.UPLOADED),
        packages.upload,
    ),
    ChangingCall(
        "HTTP upload complete",
        lambda place, store: _asked(place, store, "POST", f"/uploads/{place.noted('upload')}/complete"),
        packages.is_uploaded,
        packages.whole_upload,
    ),
)
