"""A loop of sendfile and nothing else: what any server can reach at most in a download of `w7`.

Started as `python -m benchmarks.sendfile_peer FILE`; prints its address. It answers every request with the
file, one connection after the other, and looks after nobody: no limits, no names, no tokens.
"""

from __future__ import annotations

import os
import socket
import sys


def main() -> None:
    """Serve until killed."""
    descriptor = os.open(sys.argv[1], os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(head)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 1 << 17)
            offset = 0
            while offset < size:
                offset += os.sendfile(connection.fileno(), descriptor, offset, size - offset)


if __name__ == "__main__":
    main()
