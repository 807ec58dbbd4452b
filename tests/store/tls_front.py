"""TLS in front of a PostgreSQL that has none built in, as poolers and cloud providers put it there.

The client's libpq asks for TLS in PostgreSQL's own way (an SSLRequest before anything else), shakes hands with a
real certificate and checks it; behind the front is a real server.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import subprocess
import threading
from pathlib import Path

SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def certificate(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    """(certificate, key) of a host, signed by itself: so it is its own authority, too."""
    made, key = folder / f"{name}.crt", folder / f"{name}.key"
    where = f"IP:{host}" if host[0].isdigit() else f"DNS:{host}"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName={where}", "-keyout", str(key),
               "-out", str(made)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return made, key


class Front:
    """Listens on 127.0.0.1; `certificate` None answers that there is no TLS."""

    def __init__(self, server: Path, files: tuple[Path, Path] | None) -> None:
        self._server = server
        self._context: ssl.SSLContext | None = None
        if files is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*files)
        self.encrypted: list[str] = []
        self.plain = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            first = client.recv(8, socket.MSG_WAITALL)
            if first != SSL_REQUEST:
                self.plain += 1
            elif self._context is None:
                client.sendall(b"N")
            else:
                client.sendall(b"S")
                try:
                    with self._context.wrap_socket(client, server_side=True) as line:
                        self.encrypted.append(str(line.version()))
                        self._between(line)
                except OSError:  # the client does not like the certificate
                    return

    def _between(self, line: ssl.SSLSocket) -> None:
        """Pass everything on, both ways, until one side is done."""
        with socket.socket(socket.AF_UNIX) as behind, selectors.DefaultSelector() as ready:
            behind.connect(str(self._server))
            ready.register(line, selectors.EVENT_READ, behind)
            ready.register(behind, selectors.EVENT_READ, line)
            while True:
                for key, _ in ready.select():
                    source, target = key.fileobj, key.data
                    block = source.recv(1 << 16)  # type: ignore[union-attr]
                    if not block:
                        return
                    target.sendall(block)
                    while source is line and line.pending():
                        target.sendall(line.recv(1 << 16))
