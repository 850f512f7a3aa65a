"""The command that serves a store over HTTP: `serve`."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from artifactstore.cli import options
from artifactstore.cli.quantities import parse_size
from artifactstore.cli.signals import SignalPipe

if TYPE_CHECKING:
    from types import FrameType


def serve(
    context: options.Context,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that it is asked for under, too; repeatable."),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificate chain in PEM; then it speaks TLS alone.")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Private key in PEM.", show_default="in --tls-cert")
    ] = None,
    insecure_bind: Annotated[
        bool, typer.Option("--insecure-bind", help="Let other machines in without TLS.")
    ] = False,
    max_body: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Largest body: 500M, 64G.", show_default="64G")
    ] = None,
) -> None:
    """Serve the store over HTTP until it is stopped.

    Tokens are taken from ARTIFACTSTORE_AUTH_TOKENS; without any, nobody gets in, or with
    ARTIFACTSTORE_ANON_READ everybody to read. SIGTERM and Ctrl-C let running requests end first.
    """
    from dataclasses import replace

    from artifactstore.httpapi import Limits, make_server

    run = options.invocation(context)
    settings = run.local_settings()
    limits = Limits() if max_body is None else replace(Limits(), body=parse_size(max_body))
    with run.local_store(create=True) as store:
        server = make_server(
            store,
            host=host,
            port=port,
            tokens=settings.auth_tokens,
            anonymous_read=settings.anon_read,
            allowed_hosts=allowed_host or (),
            tls_certificate=tls_cert,
            tls_key=tls_key,
            insecure_bind=insecure_bind,
            limits=limits,
        )
        stopping = threading.Event()

        def stop(_number: int, _frame: FrameType | None) -> None:
            stopping.set()

        signals = SignalPipe()
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        serving = threading.Thread(target=server.serve_forever, name="artifactstore-accept")
        try:
            serving.start()
            run.output.line(server.url)
            run.output.flush()
            if not settings.auth_tokens:
                may = "anybody may read, nobody may write" if settings.anon_read else "nobody gets in"
                run.note(f"warning: ARTIFACTSTORE_AUTH_TOKENS is not set: {may}")
            while not stopping.is_set():
                signals.wait()
            run.note("stopping")
        finally:
            server.stop()
            serving.join()
            for number, handler in before.items():
                signal.signal(number, handler)
            signals.close()
