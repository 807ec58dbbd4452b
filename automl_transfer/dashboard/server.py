"""Serves the application with waitress."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from automl_transfer.dashboard.guards import LOOPBACK
from automl_transfer.errors import ConfigurationError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

THREADS = 8
SILENCE_SECONDS = 20
"""Connections that say nothing for so long are closed: half a request, or a browser's spare one."""
_LOOK_SECONDS = 5
_MOST_CONNECTIONS = 8000
_FEWEST_CONNECTIONS = 100
_READ_ONLY_BODY = 64 * 1024
_WRITABLE_BODY = 128 * 1024 * 1024


class Server:
    """Listens from its construction on; `run` serves until Ctrl-C.

    Args:
        app: What to serve.
        host: Address to listen on.
        port: 0 takes a free one, see `port`.
        writable: Whether large bodies (uploads) are taken.

    Raises:
        ConfigurationError: The port is taken, or the address is not one of this machine.
    """

    def __init__(self, app: WSGIApplication, host: str, port: int, *, writable: bool = False) -> None:
        import waitress

        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = socket.create_server((host, port), family=family, backlog=128)
        except (OSError, UnicodeError) as error:  # a name that is none
            raise ConfigurationError(_refused(error, host, port)) from None
        self.port = int(listening.getsockname()[1])
        self._server: Any = waitress.create_server(
            app,
            sockets=[listening],
            threads=THREADS,
            ident=None,
            clear_untrusted_proxy_headers=True,
            max_request_body_size=_WRITABLE_BODY if writable else _READ_ONLY_BODY,
            # Anyone may open connections and leave them: that must cost little, and not for long.
            connection_limit=_connections(),
            channel_timeout=SILENCE_SECONDS,
            cleanup_interval=_LOOK_SECONDS,
            asyncore_use_poll=True,
        )

    def run(self) -> None:
        """Serve; returns after Ctrl-C, or after a signal handler raised `SystemExit`."""
        self._server.run()


def _connections() -> int:
    """As many as this process may have files open, but for those that it needs itself."""
    try:
        import resource
    except ImportError:  # Windows
        return _FEWEST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, soft - 200)
    return max(_FEWEST_CONNECTIONS, most)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host in LOOPBACK or host.startswith("127.")


def _refused(error: OSError | UnicodeError, host: str, port: int) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"--port must be free, got {port}, which another program uses. Choose another; 0 finds one"
    if number == errno.EACCES:
        return f"--port must be one that you may listen on, got {port}. Choose one above 1023"
    why = getattr(error, "strerror", None) or error
    return f"--host must be an address of this machine, got {host!r} ({why})"
