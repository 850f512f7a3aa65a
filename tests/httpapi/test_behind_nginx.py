"""The files of the how-to about nginx and systemd, in the programs that they are for."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
from http.client import HTTPConnection, HTTPSConnection
from typing import TYPE_CHECKING

import pytest
from cli.harness import read_line
from docs.pages import PROJECT
from store.harness import SAID, TREE, incompressible, read_tree, write_tree

from artifactstore.client import Client
from artifactstore.client.uploads import PART
from httpapi.harness import OPERATOR, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli.harness import Program

PAGE = PROJECT / "docs/how-to/serve-behind-nginx.md"
NAME = "evidence.example.org"
PROXIED = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def block(language: str) -> str:
    """The one example of the page in a language."""
    [text] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(text)


def put(text: str, **places: str) -> str:
    """A file of the page for this machine: each place that it names, once or more, is another one."""
    for old, new in places.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate for the name of the page, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@contextlib.contextmanager
def proxied(folder: Path, configuration: str, port: int) -> Iterator[None]:
    """Run nginx until the block ends."""
    path = folder / "nginx.conf"
    path.write_text(configuration)
    command = ["nginx", "-p", str(folder), "-c", str(path), "-e", "stderr"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
                    break
                assert process.poll() is None, process.stderr and process.stderr.read()
            yield
        finally:
            process.terminate()


@pytest.fixture
def serving_program(program: Program) -> Iterator[int]:
    """`artifactstore serve`, with the arguments of the unit but for its port; the port."""
    [command] = re.findall(r"^ExecStart=\S+ (.*)$", block("ini"), re.MULTILINE)
    environment = program.environment({"ARTIFACTSTORE_AUTH_TOKENS": f"operator:admin:{OPERATOR}"})
    with subprocess.Popen(
        program.command(*put(command, **{"--port 8000": "--port 0"}).split()),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield int(read_line(process).rpartition(b":")[2])
        finally:
            process.terminate()


@needs_nginx
def test_nginx_hands_on_what_clients_ask(serving_program: int, tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
    servers = put(
        block("nginx"),
        **{
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/evidence.example.org.pem": str(certificate),
            "/etc/ssl/private/evidence.example.org.key": str(key),
            "http://127.0.0.1:8000": f"http://127.0.0.1:{serving_program}",
        },
    )
    files = {**TREE, "large.bin": incompressible(PART + 4097)}
    tree = write_tree(tmp_path / "tree", files)
    with (
        proxied(tmp_path, PROXIED.format(folder=tmp_path, servers=servers), port),
        Client(f"https://127.0.0.1:{port}", OPERATOR, ca_file=str(certificate)) as client,
    ):
        pushed = client.push(tree, **SAID)
        client.export_package(pushed.package.package_id, tmp_path / "out", bare=True)
        assert read_tree(tmp_path / "out") == files
        assert client.sweep(actor="ada").marked == ()
        assert client.gc(actor="ada").collected == ()
        newest = client.events()[-1].sequence
        trusting = ssl.create_default_context(cafile=str(certificate))
        connection = HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=trusting)
        authorized = {"Authorization": f"Bearer {OPERATOR}"}
        for host, status in ((NAME, 200), ("other.example.org", 421)):
            connection.request("GET", "/health", headers={"Host": host})
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Strict-Transport-Security"]) == (
                status,
                "max-age=31536000",
            )
            answer.read()
        # A stream arrives while it is made, and what is answered to an attack is not softened on the way.
        connection.request(
            "GET", f"/events?after={newest - 1}", headers={**authorized, "Accept": "text/event-stream"}
        )
        stream = connection.getresponse()
        assert stream.readline() == b": events of an artifactstore\n"
        while not (line := stream.readline()).startswith(b"id: "):
            assert line
        assert line == f"id: {newest}\n".encode()
        connection.close()
        plain = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        plain.request("GET", "/health")
        assert plain.getresponse().status == 400  # nginx: plain HTTP on a port for TLS
        plain.close()


@needs_systemd
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "artifactstore.service"
    unit.write_text(put(block("ini"), **{"/opt/artifactstore/bin/artifactstore": sys.executable}))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "artifactstore" in line]
    assert (done.returncode, said) == (0, [])


@needs_systemd
def test_systemd_refuses_a_unit_that_is_wrong(tmp_path: Path) -> None:
    """So the test above can fail."""
    unit = tmp_path / "artifactstore.service"
    unit.write_text(put(block("ini"), **{"/opt/artifactstore/bin/artifactstore": "/nowhere/at/all"}))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
