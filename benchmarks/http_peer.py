"""The same store behind FastAPI and uvicorn, the design of the operator guide: a peer for `w7`.

Started as `python -m benchmarks.http_peer DIR`; prints its address. Needs `pip install fastapi uvicorn`.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import artifactstore
from artifactstore.digest import object_key
from artifactstore.facts import package_document, plain
from benchmarks.http import TOKEN

BEARER = HTTPBearer()


def application(root: Path) -> FastAPI:
    """Three routes over a store: show a package, put a file, download one."""
    store = artifactstore.open(root)
    app = FastAPI()

    def admitted(given: HTTPAuthorizationCredentials = Depends(BEARER)) -> None:  # noqa: B008 - FastAPI's way
        if given.credentials != TOKEN:
            raise HTTPException(401)

    @app.get("/packages/{package}", dependencies=[Depends(admitted)])
    def show(package: str) -> JSONResponse:
        found = store.get_package(package)
        explained = store.explain_retention(found.package_id)
        return JSONResponse(package_document(found, explained, store.verification(found.package_id)))

    @app.put("/packages/{package}/files/{path:path}", dependencies=[Depends(admitted)])
    async def put(package: str, path: str, request: Request) -> JSONResponse:
        from starlette.concurrency import run_in_threadpool

        data = await request.body()
        file = await run_in_threadpool(lambda: store.ingest_file(package, path, data, actor="bench"))
        return JSONResponse(plain(file), 201)

    @app.get("/packages/{package}/files/{path:path}", dependencies=[Depends(admitted)])
    def download(package: str, path: str) -> FileResponse:
        file = store.get_file(package, path)
        return FileResponse(root / "storage" / object_key(file.digest.value))

    return app


def main() -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(application(Path(sys.argv[1])), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
