"""The server: uvicorn in a thread of its own, so that nothing of the analysis waits for it."""

from __future__ import annotations

import threading
from types import TracebackType

from heme_edge.web.address import Listening
from heme_edge.web.application import application
from heme_edge.web.desk import Desk

MOST_CONNECTIONS = 64
CLOSE_S = 1


class PageServer:
    """Serves the page from ``__enter__`` to ``__exit__``.

    Args:
        desk: what the page shows.
        listening: where, see ``listen``.
    """

    def __init__(self, desk: Desk, listening: Listening) -> None:
        import uvicorn

        self._desk, self._socket = desk, listening.socket
        config = uvicorn.Config(
            application(desk, listening.address), log_level="error", access_log=False,
            lifespan="on", ws="none", http="h11", loop="asyncio", server_header=False,
            proxy_headers=False, limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=CLOSE_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def __enter__(self) -> PageServer:
        """Begins to serve; the socket listens already."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends; open connections are cut after a second. The session is not closed."""
        self._desk.close()
        self._server.should_exit = True
        self._thread.join(2 * CLOSE_S)
        self._socket.close()
        self._desk.uploads.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
