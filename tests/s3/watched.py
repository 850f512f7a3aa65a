"""A service that tells a test of each call before it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore.objects.service import Service


class Watched:
    """Another service, with a test in front of it.

    Args:
        service: what really answers.
        watch: gets the name of each call and its arguments; it may act, or raise instead of the service.
    """

    def __init__(self, service: Service, watch: Callable[[str, tuple[Any, ...]], object]) -> None:
        self._service = service
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._service, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **further: Any) -> Any:
            changed = self._watch(name, arguments)
            answer = found(*arguments, **further)
            return changed(answer) if callable(changed) else answer

        return call
