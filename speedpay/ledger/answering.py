"""From the bytes of a request to the bytes of its signed answer.

Shape is judged first, then who signed, then the money; a refusal has changed nothing. Whatever a
stranger sends is answered with a status below 500; 503 says that the ledger itself is in trouble.
A mistake of our own is raised: the shell answers it with 500, which is not signed, because nobody
knows then what has changed, and a client asks again.
"""

from __future__ import annotations

from speedpay.errors import Malformed, NotFound, SpeedpayError
from speedpay.ledger.asked import Asked, Reply, Request
from speedpay.ledger.routes import ROUTES
from speedpay.ledger.service import Service
from speedpay.ledger_api import shapes, strict
from speedpay.ledger_api.refusals import error_to_json
from speedpay.ledger_api.signed import Head, sign_answer

#: code → HTTP status. What is not here is a Refused of another kind: 422.
STATUS: dict[str, int] = {
    "balance_too_small": 402,
    "not_allowed": 403,
    "bad_signature": 401,
    "stale": 401,
    "not_found": 404,
    "channel_unknown": 404,
    "not_increasing": 409,
    "channel_closed": 409,
    "already_exists": 409,
    "out_of_order": 409,
    "over_limit": 429,
    "ledger_failed": 503,
    "books_broken": 503,
    "disk_full": 503,
}
OTHER_REFUSAL = 422
BODY_TOO_LARGE = 413


def answer(service: Service, request: Request) -> Reply:
    """An error is an answer too, and is signed like any other."""
    head, body = request.head(), request.body or b""
    voice = service.voice()
    try:
        voice.check(service.now())
        status, text = 200, _find(service, request, head)
    except SpeedpayError as error:
        status = STATUS.get(error.code, OTHER_REFUSAL)
        if request.body is None:
            status = BODY_TOO_LARGE
        text = strict.dump({"error": error_to_json(error)})
    signed = sign_answer(voice.key, service.domain, head, body, status, text)
    return Reply(status, text, {"content-type": "application/json"} | signed)


def _find(service: Service, request: Request, head: Head) -> bytes:
    if request.body is None:
        raise Malformed(f"must be at most {shapes.MAX_REQUEST_BYTES} bytes", field="body")
    service.bound_address(request.address)
    path, _, query = request.target.partition("?")
    known_path = False
    for method, pattern, handler in ROUTES:
        found = pattern.fullmatch(path)
        if not found:
            continue
        known_path = True
        if method == request.method:
            asked = Asked(service, head, request.body, request.address, found.groups(), query)
            return handler(asked)
    if known_path:
        raise NotFound("this path does not know that method", field="method")
    raise NotFound("there is no such path", field="path")
