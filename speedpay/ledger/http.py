"""The ledger on a socket: starlette and uvicorn as a thin shell around ``answering.answer``.

No access log and no forwarded addresses: who asked is known for the length of one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import FrameType

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from speedpay.errors import LedgerFailed, SpeedpayError
from speedpay.ledger.answering import answer
from speedpay.ledger.asked import Request
from speedpay.ledger.connection import MAX_CONNECTIONS, DeadlineProtocol, listen
from speedpay.ledger.expiry import BEAT_S
from speedpay.ledger.service import Service
from speedpay.ledger_api.shapes import MAX_REQUEST_BYTES

_log = logging.getLogger("speedpay.ledger")

BODY_DEADLINE_S = 10.0
CHECK_BOOKS_S = 60
#: Requests at work at once; more wait in their connections. Each may hold one database connection.
_WORKERS = 16


class Front:
    """The ASGI application. ``failed`` is called once when the ledger must stop."""

    def __init__(self, service: Service, failed: Callable[[], None]) -> None:
        self._service = service
        self._failed = failed
        self._workers = anyio.CapacityLimiter(_WORKERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        body = await _read_body(http)
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers = {name.lower(): text for name, text in reversed(http.headers.items())}
        address = http.client.host if http.client else "127.0.0.1"
        request = Request(http.method, target, headers, body, address)
        reply = await anyio.to_thread.run_sync(
            answer, self._service, request, limiter=self._workers
        )
        response = Response(reply.body, reply.status, reply.headers)
        if body is None:
            response.headers["connection"] = "close"  # the rest of that body is not waited for
        await response(scope, receive, send)
        if self._service.database.stopped:
            self._failed()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        beating = asyncio.create_task(self._beat())
        beating.add_done_callback(self._beat_ended)
        yield
        beating.cancel()
        await asyncio.wait([beating])

    async def _beat(self) -> None:
        beats = 0
        while not self._service.database.stopped:
            try:
                await anyio.to_thread.run_sync(self._service.tick, limiter=self._workers)
                if beats % (CHECK_BOOKS_S // BEAT_S) == 0:
                    await anyio.to_thread.run_sync(self._service.check_books, limiter=self._workers)
            except SpeedpayError as error:
                _log.error("%s", error)
            beats += 1
            await asyncio.sleep(BEAT_S)

    def _beat_ended(self, beating: asyncio.Task[None]) -> None:
        """A ledger on which time stands still refunds nobody: better to end and be seen."""
        if beating.cancelled():
            return
        mistake = beating.exception()
        if mistake is not None:
            _log.critical("the ledger's own work failed", exc_info=mistake)
            self._service.database.stop("a mistake in its own work")
        self._failed()


async def _read_body(http: HttpRequest) -> bytes | None:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in http.stream():
                body += part
                if len(body) > MAX_REQUEST_BYTES:
                    return None
    except (TimeoutError, ClientDisconnect):
        return None
    return bytes(body)


class LedgerServer(uvicorn.Server):
    """A service on one listening socket. ``run_until_stopped`` blocks; ``running`` is for tests
    and for programs that have other things to do."""

    def __init__(self, service: Service, host: str, port: int) -> None:
        self._service = service
        self._socket = listen(host, port)
        self._ready: Callable[[], None] = lambda: None
        self.thread_name = f"ledger on {self.url}"
        front = Front(service, self.stop)
        app = Starlette(routes=[Mount("/", app=front)], lifespan=front.lifespan)
        super().__init__(
            uvicorn.Config(
                app,
                http=DeadlineProtocol,
                ws="none",
                loop="asyncio",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS + 1,
                h11_max_incomplete_event_size=16 * 1024,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=5,
            )
        )

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def stop(self) -> None:
        self.should_exit = True

    def run_until_stopped(self, ready: Callable[[], None]) -> None:
        """Serve until SIGINT, SIGTERM or ``stop``. Raises LedgerFailed when the disk failed."""
        self._ready = ready
        try:
            self.run(sockets=[self._socket])
        finally:
            self._socket.close()
        if self._service.database.stopped:
            raise LedgerFailed(f"the ledger stopped: {self._service.database.stopped}")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal is a wish to end, not a failure: uvicorn would raise it once more at the end."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread; yields the URL."""
        ready = threading.Event()

        def serve() -> None:
            with contextlib.suppress(LedgerFailed):  # the caller sees it in ``database.stopped``
                self.run_until_stopped(ready.set)

        thread = threading.Thread(target=serve, name=self.thread_name, daemon=True)
        thread.start()
        try:
            if not ready.wait(10):
                raise LedgerFailed("the ledger did not start")
            yield self.url
        finally:
            self.stop()
            thread.join(10)
