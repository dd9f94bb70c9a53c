"""A node between us and a real development node, which changes what it says, or how.

``edit`` gets the path and the true answer (parsed JSON) and returns what is sent: JSON again, or bytes
as they are, or a ``Raw``. ``asked`` counts the calls, ``headers`` keeps the last request's.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Edit = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Raw:
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    pieces_s: float = 0.0  # a pause before every byte


def honest(_path: str, answer: Any) -> Any:
    return answer


class Liar:
    def __init__(self, behind: str, edit: Edit) -> None:
        self.edit = edit
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.stopped = threading.Event()
        liar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                path = self.path.strip("/")
                liar.asked[path] += 1
                liar.headers = {k.lower(): v for k, v in self.headers.items()}
                request = urllib.request.Request(f"{behind}/{path}", body, method="POST")
                with urllib.request.urlopen(request, timeout=60) as real:
                    said = liar.edit(path, json.loads(real.read()))
                if not isinstance(said, Raw):
                    content = said if isinstance(said, bytes) else json.dumps(said).encode()
                    said = Raw(200, content)
                self.send_response(said.status)
                for name, value in said.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said.body)))
                self.end_headers()
                pieces = [said.body] if not said.pieces_s else [bytes([b]) for b in said.body]
                try:
                    for piece in pieces:
                        if said.pieces_s and liar.stopped.wait(said.pieces_s):
                            return
                        self.wfile.write(piece)
                        self.wfile.flush()
                except OSError:
                    self.close_connection = True  # whoever asked has had enough

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@contextmanager
def liar(behind: str, edit: Edit = honest) -> Iterator[Liar]:
    made = Liar(behind, edit)
    try:
        yield made
    finally:
        made.close()
