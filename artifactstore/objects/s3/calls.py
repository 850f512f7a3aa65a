"""The one door to an S3 server: one deadline on each call, one translation of failures, two ways.

What a store asks once for each object goes the short way, everything else through s3fs. That library's own
timeouts do not cover everything: a server that stops reading in the middle of a body, or never answers
`Expect: 100-continue`, holds a call for ever. So each call runs as a coroutine on fsspec's loop, and the
calling thread gives it up after a deadline. A write that was given up may still arrive.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from artifactstore.errors import AccessError, ArtifactStoreError, BackendError
from artifactstore.forks import watch
from artifactstore.objects.s3.failures import ConditionFailed, translation
from artifactstore.objects.s3.short_way import short_way
from artifactstore.objects.s3.wire import UnfamiliarError
from artifactstore.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore.objects.s3.config import S3Config
    from artifactstore.objects.s3.short_way import ShortWay

_SLOWEST = 256 << 10  # bytes per second below which a transfer counts as hanging
_CONNECT_TIMEOUT = 5  # seconds
_CONNECTIONS = 32
_TRIES = 5  # of a call that may work in a moment: all of them can be made twice
_REPEATED = frozenset({"throttled", "server-error", "write-conflict", "connection-lost", "bytes-damaged"})
_DOUBTFUL = frozenset({"bad-credentials", "credentials-expired"})  # keys that may have been replaced

# What a good answer says at least. Source: Amazon S3 API reference, as the names of the calls.
_ANSWERED = {
    "copy_object": ("CopyObjectResult",),
    "create_multipart_upload": ("UploadId",),
    "head_object": ("ContentLength", "LastModified"),
    "list_multipart_uploads": ("IsTruncated",),
    "list_object_versions": ("IsTruncated",),
    "list_objects_v2": ("IsTruncated",),
    "list_parts": ("IsTruncated",),
    "put_object": ("ETag",),
    "upload_part": ("ETag",),
    "upload_part_copy": ("CopyPartResult",),
}


class S3Calls:
    """Connections to one server, made when a call needs them, and anew in each process."""

    def __init__(self, config: S3Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._with_keys: S3Config | None = None  # of the present connections
        self._file_system: Any = None
        self._replaced: Any = None  # the one before, which other threads may still use
        self._short: ShortWay | None = None
        self._decided = False  # whether there is a short way
        self._changes = 0  # of the keys
        self._token = ""  # of the session that the present keys are those of
        watch(self)

    def call(self, method: str, *, size: int = 0, timeout: float | None = None, **arguments: Any) -> Any:
        """Make one call of the S3 API and wait for its answer.

        Keys that are refused are read again, and the call is repeated if they were replaced.

        Args:
            method: as botocore calls it.
            size: bytes that travel; a larger transfer may take longer.
            timeout: seconds for the whole call, and for each try of it, instead of what follows from the
                configuration; for what keeps a server busy before it answers.
        Raises:
            BeyondEnd, ConditionFailed, KeyMissing: answers that the caller asks for.
            AccessError, BackendError: everything else.
        """
        once = timeout or self._config.timeout + size / _SLOWEST
        give_up = time.monotonic() + (timeout or self._config.timeout + once)
        for attempt in range(1, _TRIES + 1):
            changes = self._changes
            try:
                left = max(give_up - time.monotonic(), 0.1)
                return self._believed(method, self._call_once(method, min(once, left), arguments))
            except ConditionFailed:
                raise ConditionFailed(repeated=attempt > 1) from None
            except AccessError as error:
                # The answer to a HEAD does not say why it refuses.
                doubtful = error.code in _DOUBTFUL or method.startswith("head_")
                if not doubtful or attempt == _TRIES or not self._renew(changes):
                    raise
            except BackendError as error:
                # Not all of them at once.
                pause = random.uniform(0.5, 1) * self._config.pause * 2 ** (attempt - 1)  # noqa: S311 - as just said
                last = attempt == _TRIES or time.monotonic() + pause > give_up
                if last or error.code not in _REPEATED:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _believed(self, method: str, answer: Any) -> Any:
        """The answer, if it says what an S3 server says; a page in front of one has a 200 for everything."""
        for name in _ANSWERED.get(method, ()):
            if answer.get(name) in (None, "", {}):
                raise BackendError(
                    f"{self._config.name}: what answers there is no S3 server (no {name} in its answer)",
                    hint="check the endpoint, and what stands in front of it",
                    code="not-s3",
                    retryable=True,
                )
        return answer

    def _call_once(self, method: str, deadline: float, arguments: dict[str, Any]) -> Any:
        give_up = time.monotonic() + deadline
        try:
            short = self._short_way()
            if short is not None:
                return short.call(method, arguments, give_up)
        except UnfamiliarError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold a secret
            raise translation(error, self._config.name) from None
        return self._call_long(method, max(give_up - time.monotonic(), 0.1), arguments)

    def _short_way(self) -> ShortWay | None:
        with self._lock:
            if not self._decided:
                self._short, self._decided = short_way(self._known()), True
            return self._short

    def _known(self) -> S3Config:
        """The configuration with the keys of the present connections, read when the first one is made."""
        if self._with_keys is None:
            keys = self._config.credentials()
            self._with_keys = replace(self._config, credentials=lambda: keys)
        return self._with_keys

    def _renew(self, changes: int) -> bool:
        """Whether there are other keys than those that were refused; connections are made anew with them.

        Args:
            changes: how often they had changed when the refused call began.
        """
        with self._lock:
            if self._changes != changes:  # another thread was faster
                return True
            try:
                keys = self._config.credentials()
            except ArtifactStoreError:
                return False  # the refusal says more
            if keys is None or self._with_keys is None or keys == self._with_keys.credentials():
                return False
            self._changes += 1
            self._end_short_way()
            _close(self._replaced)
            self._replaced, self._file_system, self._with_keys = self._file_system, None, None
            return True

    def _call_long(self, method: str, deadline: float, arguments: dict[str, Any]) -> Any:
        from fsspec.asyn import get_loop, sync

        file_system = self._connected()
        try:
            return sync(get_loop(), _answer, file_system, method, arguments, timeout=deadline)
        except Exception as error:  # noqa: BLE001 - three libraries raise errors of their own
            raise translation(error, self._config.name, secret=self._token) from None

    def _note_token(self, request: Any, **_: object) -> None:
        """Note what a server may repeat in its refusal."""
        token = request.headers.get("X-Amz-Security-Token", "")
        self._token = token if isinstance(token, str) else token.decode()

    def _connected(self) -> Any:
        with self._lock:
            if self._file_system is None:
                try:
                    self._file_system = _connect(self._known(), self._note_token)
                except ImportError:
                    hint = "install it with `pip install 'artifactstore[s3]'`"
                    raise BackendError("the package s3fs is missing", hint=hint, code="no-s3fs") from None
            return self._file_system

    def before_fork(self) -> None:
        """Let nobody connect meanwhile."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Leave the parent's connection alone in the child: its loop has no thread there to close it."""
        if in_child:
            self._end_short_way()
            for file_system in (self._file_system, self._replaced):
                # It would complain when it is freed, so it never is.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(file_system))
            self._file_system = self._replaced = None
        self._lock.release()

    def _end_short_way(self) -> None:
        short, self._short, self._decided = self._short, None, False
        if short is not None:
            short.close()

    def close(self) -> None:
        """Close the connections of this process."""
        with self._lock:
            self._end_short_way()
            for file_system in (self._file_system, self._replaced):
                _close(file_system)
            self._file_system = self._replaced = self._with_keys = None


def _close(file_system: Any) -> None:
    creator = getattr(file_system, "_s3creator", None)
    if creator is not None:
        from fsspec.asyn import get_loop, sync

        with contextlib.suppress(Exception):
            sync(get_loop(), creator.__aexit__, None, None, None, timeout=_CONNECT_TIMEOUT)


async def _answer(file_system: Any, method: str, arguments: dict[str, Any]) -> Any:
    # Outside the package s3fs this is spelled `call_s3`; inside a coroutine there is only this name.
    answer = await file_system._call_s3(method, **arguments)
    body = answer.get("Body") if isinstance(answer, dict) else None
    if body is not None:
        # Read here, so that the deadline covers it; a server that ignores a range sends no more than asked.
        async with body:
            answer["Body"] = await body.read()
    return answer


def _connect(config: S3Config, before_send: Callable[..., None]) -> Any:
    import aiobotocore.session
    import botocore.handlers
    import s3fs

    from artifactstore.objects.s3.unredirected import unredirected

    session = aiobotocore.session.AioSession()
    # Nothing limits the time that the client waits for the 100 of `Expect: 100-continue`.
    session.unregister("before-call.s3", botocore.handlers.add_expect_header)
    session.register("before-send.s3", before_send)
    keys = config.credentials()
    file_system = s3fs.S3FileSystem(
        # Else it closes itself when it is freed, in a way that warns and waits.
        asynchronous=True,
        endpoint_url=config.endpoint_url,
        key=keys and keys[0],
        secret=keys and keys[1],
        session=session,
        client_kwargs={"region_name": config.region},
        config_kwargs={
            "http_session_cls": unredirected(session),
            "signature_version": "s3v4",
            "s3": {
                **({"addressing_style": "path"} if config.endpoint_url else {}),
                "payload_signing_enabled": True,  # the signature covers the sha256 of the body
            },
            # Else https to older Ceph fails, and the body would not be signed.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "connect_timeout": _CONNECT_TIMEOUT,
            "read_timeout": None,  # the deadline of each try is the limit: some calls may take longer
            "max_pool_connections": _CONNECTIONS,
            "user_agent": f"artifactstore/{__version__}",  # else it is put together anew for each request
            "retries": {"mode": "standard", "total_max_attempts": 1},  # `S3Calls.call` repeats
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    file_system.retries = 1
    return file_system
