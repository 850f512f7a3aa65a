"""The HTTP API: a small shim over the library on the standard library's `http.server`.

Started by `artifactstore serve`; programs embed it with `make_server`.
"""

from artifactstore.httpapi.server import Server, make_server
from artifactstore.httpapi.wire import Limits

__all__ = ["Limits", "Server", "make_server"]
