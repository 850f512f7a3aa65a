"""The long way's HTTP, without the steps that its libraries take to wherever a server sends them.

Session token and bytes would go there too. Two layers follow on their own: the HTTP client goes to any
`Location`, and botocore to the region that a server names.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ClientError

from artifactstore.errors import BackendError


class UnredirectedSession(AIOHTTPSession):  # type: ignore[misc]  # the library has no types
    """Sends requests to where they are addressed."""

    async def _get_session(self, proxy_url: str | None) -> SimpleNamespace:
        session = await super()._get_session(proxy_url)
        return SimpleNamespace(request=partial(session.request, allow_redirects=False))


def unredirected(session: Any) -> type[UnredirectedSession]:
    """Let the clients of a session follow no redirect.

    Args:
        session: of aiobotocore.
    Returns:
        What those clients are to send with.
    Raises:
        BackendError: this version of the library works in another way.
    """
    if not hasattr(AIOHTTPSession, "_get_session"):
        raise BackendError(
            "this version of aiobotocore cannot be kept from following redirects",
            hint="install an earlier one",
            code="no-s3fs",
        )
    session.get_component("event_emitter").register_first("needs-retry.s3", _refuse_redirect)
    return UnredirectedSession


def _refuse_redirect(response: tuple[Any, dict[str, Any]] | None, operation: Any, **_: object) -> None:
    """End a call that was sent elsewhere, before botocore decides whether to make it again there."""
    if response is not None and response[0].status_code // 100 == 3:
        raise ClientError(response[1], operation.name)
