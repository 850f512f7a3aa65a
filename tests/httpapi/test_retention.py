"""Retention and holds over HTTP, as somebody would ask who wants evidence to go early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from httpapi.harness import OPERATOR, TOKENS, Client, serving

if TYPE_CHECKING:
    from artifactstore import Store

OTHER = "canary-second-operator-7ad1"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"until": "2001-01-01T00:00:00Z"}, "retention-shortened"),
        ({"until": "10000-01-01T00:00:00Z"}, "invalid-time"),
        ({"until": "NaN"}, "invalid-time"),
        ({"by": "-90d"}, "invalid-duration"),
        ({"by": "NaN"}, "invalid-duration"),
        ({"by": "999999999d"}, "invalid-duration"),
        ({"by": 90}, "invalid-field"),
        ({"by": "90d", "forever": True}, "invalid-field"),
        ({}, "invalid-field"),
    ],
)
def test_an_extension_that_is_none_changes_nothing(
    store: Store, client: Client, operator: Client, asked: dict[str, object], code: str
) -> None:
    package = client.finalized({"a": b"a"})
    before = store.newest_sequence()
    path = f"/packages/{package}/retention/extend"
    answer = operator("POST", path, asked)
    assert (answer.status, answer.document["code"]) == (422, code)
    operator("POST", path, b'{"by":NaN}', status=400, Content_Type="application/json")
    assert store.newest_sequence() == before


def test_a_hold_ends_by_its_id_once_and_any_operator_may_end_it(store: Store) -> None:
    tokens = (*TOKENS, f"second:admin:{OTHER}")
    with serving(store, tokens=tokens) as server:
        clients = pusher, operator, other = Client(server), Client(server, OPERATOR), Client(server, OTHER)
        package, foreign = pusher.finalized({"a": b"a"}), pusher.finalized({"b": b"b"})
        holds = f"/packages/{package}/retention/holds"
        first, second = (
            operator("POST", holds, {"reason": reason}, status=201).document["hold_id"]
            for reason in ("trial", "audit")
        )
        said = {"reason": "over"}
        pusher("POST", f"{holds}/{first}/release", said, status=403)
        other("POST", f"/packages/{foreign}/retention/holds/{first}/release", said, status=404)
        other("POST", f"{holds}/00000000-0000-7000-8000-000000000000/release", said, status=404)
        other("POST", f"{holds}/{first}/release", said, status=200)
        assert store.retention_history(package)[-1].actor == "second"
        again = other("POST", f"{holds}/{first}/release", said)
        assert again.status in {404, 409}
        state = operator("GET", f"/packages/{package}/retention", status=200).document
        assert state["hold_count"] == 1
        operator("POST", f"{holds}/{second}/release", said, status=200)
        for client in clients:
            client.close()
