"""Every operation of the OpenAPI document, with requests made from it and beside it: never a 5xx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance
from store.harness import SAID, Home

from artifactstore.httpapi.openapi import openapi_document
from httpapi.harness import OPERATOR, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artifactstore import Store
    from artifactstore.httpapi import Server

SCHEMA = schemathesis.openapi.from_dict(openapi_document())
OPERATIONS = {
    f"{operation.method.upper()} {operation.path}": operation
    for operation in (result.ok() for result in SCHEMA.get_all_operations())
}
NOTHING_TO_SAY = {"GET /", "GET /health", "GET /docs"}  # so nothing can be said wrongly
EXAMPLES = 40  # of each kind, for each operation
KEY = {"Authorization": f"Bearer {OPERATOR}"}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Server, dict[str, str]]]:
    """A server of a store that holds something, and names of what it holds."""
    with Home(tmp_path_factory.mktemp("victim")).open() as store, serving(store) as server:
        package = store.create_package(**SAID)
        file = store.ingest_file(package, "a.txt", b"a", actor="ada")
        store.finalize_package(package, actor="ada")
        opened = store.create_package(**SAID)
        store.ingest_file(opened, "a.txt", b"a", actor="ada")
        hold = store.apply_hold(package, reason="trial", actor="ada")
        upload = store.uploads().create(opened, "b", owner="operator")
        yield (
            store,
            server,
            {
                "package": opened,
                "file": file.file_id,
                "digest": str(file.digest),
                "path": "a.txt",
                "upload": upload.upload_id,
                "hold": hold.hold_id,
            },
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode)
        for name in OPERATIONS
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if mode == GenerationMode.POSITIVE or name not in NOTHING_TO_SAY
    ],
)
def test_no_request_is_too_much_for_the_server(
    victim: tuple[Store, Server, dict[str, str]], name: str, mode: GenerationMode
) -> None:
    store, server, names = victim
    operation = OPERATIONS[name]
    there = {key: value for key, value in names.items() if f"{{{key}}}" in operation.path}
    cases = operation.as_strategy(generation_mode=mode)
    if there:
        # Names of what is there get past the first look.
        cases = st.one_of(cases, operation.as_strategy(generation_mode=mode, path_parameters=there))
    answered = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def run(case: Case) -> None:
        nonlocal answered
        fields = dict(KEY)
        if operation.path == "/events":
            # A stream has no end, and a wait only takes time.
            fields["Accept"] = "application/json"
            case.query = {key: value for key, value in (case.query or {}).items() if key != "wait"}
        response = case.call(base_url=server.url, headers=fields, timeout=30)
        answered += 1
        assert response.status_code < 500, (case.as_curl_command(), response.content)
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"]
            assert b"Traceback" not in response.content
        elif response.headers.get("content-type") == ["application/json"]:
            case.validate_response(response, checks=[response_schema_conformance])

    run()
    assert answered
    assert store.health().status == "ok"
