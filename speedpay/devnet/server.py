"""One node's HTTP: bounded requests on loopback, each answered under the chain's lock.

Several nodes may stand before one chain, each with faults of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from speedpay.devnet import dev_calls, dispatch
from speedpay.devnet.chain import Chain
from speedpay.devnet.dispatch import Answer, Cut
from speedpay.devnet.faults import Faults
from speedpay.devnet.wallet_calls import NETWORK
from speedpay.errors import InvalidSetting, Malformed
from speedpay.ledger import connection
from speedpay.ledger.connection import MAX_CONNECTIONS, DeadlineProtocol

MAX_REQUEST_BYTES = 2 * 1024 * 1024  # a transaction of 500 KiB is twice that in hex
BODY_DEADLINE_S = 10.0


class NodeServer(uvicorn.Server):
    """Serves in a thread between ``start`` and ``stop``. ``listening``: from ``listen``."""

    def __init__(self, chain: Chain, listening: socket.socket) -> None:
        self.faults = Faults()
        self._chain = chain
        self._socket = listening
        self._ready = threading.Event()
        super().__init__(
            uvicorn.Config(
                self._serve_one,
                http=DeadlineProtocol,
                ws="none",
                interface="asgi3",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS + 1,
                h11_max_incomplete_event_size=16 * 1024,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=self.run,
            kwargs={"sockets": [self._socket]},
            name=f"devnet {self.url}",
            daemon=True,
        )

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(10):
            raise InvalidSetting("did not start to listen", field="--listen")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()

    def stop(self) -> None:
        self.should_exit = True
        if self._thread.is_alive():
            self._thread.join(10)
        self._socket.close()

    # ----------------------------------------------------------------------------- one request

    async def _serve_one(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        try:
            made = self._answer(http, await _given(http))
        except Malformed as error:
            made = Answer({"Error": str(error)}, 400)
        except Cut as cut:
            await asyncio.sleep(cut.seconds)
            await self._abort(scope)
            return
        response = Response(
            json.dumps(made.body), made.status, {"x-network": NETWORK}, "application/json"
        )
        if made.status == 400:
            response.headers["connection"] = "close"  # the rest of a body is not waited for
        await response(scope, receive, send)

    def _answer(self, http: HttpRequest, given: Any) -> Answer:
        path = http.url.path.strip("/")
        if path.startswith("dev/"):
            return dev_calls.answer(self._chain, self.faults, path.removeprefix("dev/"), given)
        return dispatch.answer(self._chain, self.faults, path, given)

    async def _abort(self, scope: Scope) -> None:
        """Cut the connection on which this request came, and let the server notice."""
        for protocol in list(self.server_state.connections):
            if getattr(protocol, "client", None) == scope["client"]:
                protocol.transport.abort()
        await asyncio.sleep(0)


async def _given(http: HttpRequest) -> Any:
    """The parameters: a JSON body, or those of a GET. Raises Malformed."""
    if http.method == "GET":
        pairs = parse_qsl(http.url.query, max_num_fields=32)
        return dict(pairs)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in http.stream():
                body += part
                if len(body) > MAX_REQUEST_BYTES:
                    raise Malformed(f"is more than {MAX_REQUEST_BYTES} bytes", field="body")
    except (TimeoutError, ClientDisconnect) as error:
        raise Malformed("did not arrive", field="body") from error
    try:
        return json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise Malformed("is not JSON", field="body") from error


def listen(host: str, port: int) -> socket.socket:
    """On loopback, else InvalidSetting."""
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidSetting(
            f"{host} is not an address of this machine alone", field="--listen",
            hint="a development chain listens on 127.0.0.1 or ::1 only",
        )  # fmt: skip
    return connection.listen(host, port)
