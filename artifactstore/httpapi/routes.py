"""What a route is, and what its function is given.

The table of all routes (`table.ROUTES`) is the one description of the API: requests are matched by it,
parameters are read by it, and the OpenAPI document and the reference are made from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifactstore.fields import VALUES_MAX
from artifactstore.httpapi.access import ADMIN, ANONYMOUS, READ, missing_scope
from artifactstore.httpapi.answers import JSON
from artifactstore.httpapi.refusals import Refusal
from artifactstore.httpapi.service import LARGE
from artifactstore.strict_json import read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from artifactstore.codec import Value
    from artifactstore.httpapi.access import Principal
    from artifactstore.httpapi.answers import Answer
    from artifactstore.httpapi.head import Head
    from artifactstore.httpapi.service import Service
    from artifactstore.httpapi.wire import Body
    from artifactstore.store import Store

    Schema = Mapping[str, object]

BYTES = "application/octet-stream"
_OPERATOR_VALUES_MAX = 1_000_000  # a plan has many for each package
_METADATA = re.compile(r"metadata(?:\.(.+)|\[(.+)\])", re.DOTALL)
_ACTOR = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that a request says beside its body.

    Args:
        name: of the parameter, or of the field.
        schema: JSON schema of its value.
    """

    name: str
    description: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a route answers with.

    Args:
        schema: name of a schema of the API; None if it is no JSON.
        media_types: that it can have, the first one by default.
    """

    description: str
    schema: str | None = None
    media_types: tuple[str, ...] = (JSON,)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Args:
        path: a name in braces is a parameter; `{path}` at the end takes the rest, slashes too.
        respond: does it.
        scope: that a token must have; None lets everybody in.
        body: schema name of the JSON document that it takes, `BYTES` for raw bytes, None for neither.
        body_required: whether there must be one.
        refuses: statuses that it may answer with beside those of every route.
    """

    method: str
    path: str
    respond: Callable[[Call], Answer]
    summary: str
    reply: Reply
    scope: str | None = READ
    description: str = ""
    query: tuple[Parameter, ...] = ()
    fields: tuple[Parameter, ...] = ()
    body: str | None = None
    body_required: bool = False
    refuses: tuple[int, ...] = ()

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path."""
        return tuple(self.path.strip("/").split("/")) if self.path != "/" else ()

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        return self.method not in {"GET", "HEAD", "OPTIONS"}

    @property
    def operation_id(self) -> str:
        """Its name in the OpenAPI document."""
        return self.respond.__name__

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The parameters of the path, or None if the route is another one."""
        own = self.segments
        rest = bool(own) and own[-1] == "{path}"
        if len(segments) < len(own) if rest else len(segments) != len(own):
            return None
        found: dict[str, str] = {}
        for position, part in enumerate(own):
            given = segments[position]
            if rest and position == len(own) - 1:
                found["path"] = "/".join(segments[position:])
            elif part.startswith("{"):
                found[part[1:-1]] = given
            elif part != given:
                return None
        return found


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to its function.

    Args:
        path: the parameters of the path.
        held: what is given back when the request is done.
    """

    service: Service
    route: Route
    head: Head
    body: Body
    principal: Principal
    path: Mapping[str, str]
    held: ExitStack

    @property
    def store(self) -> Store:
        """The store that is served."""
        return self.service.store

    @property
    def actor(self) -> str:
        """Who acts: the name of the token. Whom it says to act for stands beside it, never in its place."""
        claimed = self.head.fields.get("artifactstore-actor")
        if claimed is None:
            return self.principal.name
        name = decoded_field(claimed)
        if not _ACTOR.fullmatch(name) or name != name.strip() or not name.isprintable():
            raise Refusal(422, "Artifactstore-Actor is no name", code="invalid-field")
        return self.principal.name if name == self.principal.name else f"{self.principal.name} (for {name})"

    @property
    def idempotency_key(self) -> str | None:
        """The key of the request; two tokens never share one."""
        key = self.head.fields.get("idempotency-key")
        if key is None:
            return None
        if not 1 <= len(key) <= 128 or not key.isascii():
            raise Refusal(422, "Idempotency-Key is 1 to 128 ASCII characters", code="invalid-field")
        return key if self.principal.name == ANONYMOUS else f"{self.principal.name}:{key}"

    def require(self, scope: str) -> None:
        """Refuse a token that may not do what this request asks beyond its route."""
        if not self.principal.may(scope) and not (scope == READ and self.service.tokens.anonymous_read):
            raise missing_scope(self.principal, scope)

    # The query

    def check_query(self) -> None:
        """Refuse what the route does not know: a misspelt filter would otherwise list everything."""
        known = {parameter.name for parameter in self.route.query}
        for name in self.head.query:
            if name not in known and not ("metadata" in known and _METADATA.fullmatch(name)):
                raise bad_query(f"there is no parameter {name[:80]!a}", hint=_known_text(known))

    def metadata(self) -> dict[str, str]:
        """The filters of metadata, by key."""
        found: dict[str, str] = {}
        for name, value in self.head.query.items():
            matched = _METADATA.fullmatch(name)
            if matched is not None and found.setdefault(matched[1] or matched[2], value) != value:
                raise bad_query("a key of metadata comes twice")
        return found

    def text(self, name: str) -> str | None:
        """A parameter as it is."""
        return self.head.query.get(name)

    def integer(self, name: str, *, default: int, minimum: int, maximum: int) -> int:
        """A parameter that is a number."""
        text = self.head.query.get(name)
        if text is None:
            return default
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else -1
        if not minimum <= number <= maximum:
            raise bad_query(f"{name} is a number from {minimum} to {maximum}, not {text[:80]!a}")
        return number

    def seconds(self, name: str, *, maximum: int) -> float:
        """A parameter that is a time to wait."""
        text = self.head.query.get(name)
        if text is None:
            return 0.0
        if not re.fullmatch(r"[0-9]{1,4}(?:\.[0-9]{1,3})?", text) or float(text) > maximum:
            raise bad_query(f"{name} is a number of seconds from 0 to {maximum}, not {text[:80]!a}")
        return float(text)

    # The body

    def document(self, **wanted: type | tuple[type, ...]) -> dict[str, Value]:
        """The JSON object of the body.

        Args:
            wanted: its members with their types; a tuple that has `NoneType` may be left out.
        Returns:
            All members; None for what is not there.
        """
        if self.body.done and not self.route.body_required:
            given: dict[str, Value] = {}
        else:
            data = self.body.read_all()
            if len(data) > LARGE:
                self.held.enter_context(self.service.reading_large())
            most = _OPERATOR_VALUES_MAX if self.route.scope == ADMIN else VALUES_MAX
            given = read_object(data, name="the body", values_max=most)
        for name in given:
            if name not in wanted:
                raise Refusal(
                    422, f"the body has a member {name[:80]!a} that is none", hint=_known_text(wanted)
                )
        for name, kinds in wanted.items():
            allowed = kinds if isinstance(kinds, tuple) else (kinds,)
            value: object = given.setdefault(name, None)
            # JSON tells true from 1, Python does not: the very type counts.
            if type(value) not in allowed:
                state = "is missing" if value is None else "has a wrong type"
                raise Refusal(422, f"the member {name} of the body {state}", code="invalid-field")
        return given


def decoded_field(text: str) -> str:
    """The value of a field, which may be UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text


def bad_query(detail: str, *, hint: str | None = None) -> Refusal:
    """A 400 for a parameter."""
    return Refusal(400, detail, hint=hint, code="bad-query")


def _known_text(names: object) -> str | None:
    known = ", ".join(sorted(names))  # type: ignore[call-overload]  # a set or a mapping of names
    return f"known are {known}" if known else "there are none here"
