"""Checks in the manner of the OpenCMIS TCK, over the browser binding."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Session

TYPES = ("cmis:document", "cmis:folder", "cmis:item", "cmis:policy")
NAMES = [f"object {number:02}" for number in range(25)]
BAD_NAMES = ["", "a/b", "/", "a/b/c"]


def test_repository_info(session: Session) -> None:
    status, info = session.call("GET", "/")
    assert status == 200
    assert info["cmisVersionSupported"] == "1.1"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TYPES)
def test_create_and_read(session: Session, kind: str, name: str) -> None:
    if kind == "cmis:policy" and name > "object 20":
        pytest.skip("the repository has no policies of this kind")
    status, created = session.call("POST", "/root", {"cmis:objectTypeId": kind, "cmis:name": name})
    assert status == 201
    read = session.call("GET", f"/root?objectId={created['succinctProperties']['cmis:objectId']}")
    assert read == (200, created)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_refused(session: Session, name: str) -> None:
    status, refusal = session.call("POST", "/root", {"cmis:objectTypeId": "cmis:document", "cmis:name": name})
    assert (status, refusal["exception"]) == (400, "invalidArgument")


def test_what_is_not_there(session: Session) -> None:
    assert session.call("GET", "/root?objectId=id-999999")[0] == 404


@pytest.mark.skipif(not os.environ.get("TCK_STRICT"), reason="only asked of strict repositories")
@pytest.mark.parametrize("name", ["tab\there", "line\nend"])
def test_control_characters_are_refused(session: Session, name: str) -> None:
    """The repository takes them, so a strict run fails."""
    assert session.call("POST", "/root", {"cmis:objectTypeId": "cmis:document", "cmis:name": name})[0] == 400
