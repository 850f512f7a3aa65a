"""What a request says is done, or refused: nothing of it is passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from httpapi.harness import Client


def test_a_key_is_that_of_one_schema(operator: Client) -> None:
    def register(schema: dict[str, object], status: int) -> dict[str, object]:
        body = {"slug": "run.v1", "schema": schema}
        answer = operator("POST", "/metadata-schemas", body, Idempotency_Key="k", status=status)
        return dict(answer.document)

    first = register({"type": "object"}, 201)
    assert register({"type": "object"}, 201) == first
    assert register({"required": ["run"]}, 409)["code"] == "idempotency-conflict"
    assert len(operator("GET", "/metadata-schemas").document["items"]) == 1
