"""Sending to the chain once, whatever interrupts: a job's transactions are stored before they leave.

A job is one wish of the user's (fund 5 tok) with the transactions that it needs, each signed once and
on disk before any node hears of it. What became of one is always read from the chain, by its id. So
there is nothing to remember but the signed bytes: Ctrl-C, a crash, a lost answer or a new start all go
on by sending the same bytes again, which the network takes once. A new transaction in place of an old
one is signed only when the old can never be mined any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from speedpay.chain.answers import Receipt
from speedpay.chain.keys import ChainKey
from speedpay.chain.transaction import Signed, Unsigned
from speedpay.chain.tron import succeeded
from speedpay.errors import ChainRefused, Malformed, NotFound, SpeedpayError
from speedpay.ledger_api import strict
from speedpay.ledger_api.shapes import MAX_TIME, Json
from speedpay.ledger_api.strict import Fields
from speedpay.wallet import files

#: A transaction of ours is below 2 KB, a job has at most three.
_MAX_FILE_BYTES = 64 * 1024
_MAX_STEPS = 4
#: Sent again while no node shows it in a block: a node may have lost it from its memory.
RESEND_S = 10.0


class Chain(Protocol):
    """The part of ``chain.Tron`` that sends."""

    def broadcast(self, signed: Signed) -> None: ...
    def receipt(self, txid: bytes, *, solid: bool = False) -> Receipt | None: ...
    def known(self, txid: bytes) -> bool: ...
    def expired(self, signed: Signed) -> bool: ...


@dataclass(frozen=True, slots=True)
class Job:
    """``wish``: what the user asked for. ``signed``: step → the transaction as it was stored.

    ``begun``: unix seconds. ``resumed``: it had been begun by an earlier command.
    """

    wish: Mapping[str, str]
    begun: int
    signed: Mapping[str, str] = field(default_factory=dict)
    resumed: bool = False

    def txid(self, step: str) -> bytes | None:
        stored = self.signed.get(step)
        return Signed.from_stored(stored).txid if stored is not None else None

    def to_json(self) -> Json:
        return {"wish": dict(self.wish), "begun": self.begun, "signed": dict(self.signed)}

    @classmethod
    def read(cls, fields: Fields) -> Job:
        begun = fields.integer("begun", 0, MAX_TIME)
        wish, signed = (_texts(fields.take(name), name) for name in ("wish", "signed"))
        fields.end()
        for stored in signed.values():
            Signed.from_stored(stored)
        return cls(wish, begun, signed, resumed=True)


#: What happened to a step: "stored", "sent", "refused", "seen" (its receipt) or "solid" (its receipt).
Report = Callable[[str, str, Job, Receipt | None], None]


def unheard(_step: str, _news: str, _job: Job, _receipt: Receipt | None) -> None:
    return


class Outbox:
    """The jobs of one kind of one account, one at a time. Whoever uses it holds ``lock``."""

    def __init__(
        self,
        folder: Path,
        name: str,
        chain: Chain,
        key: ChainKey,
        *,
        poll_s: float = 1.0,
        resend_s: float = RESEND_S,
        report: Report = unheard,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = folder / f"{name}.job"
        self.lock = folder / f"{name}.job.lock"
        self._chain, self._key = chain, key
        self._poll_s, self._resend_s, self._report = poll_s, resend_s, report
        self._clock, self._sleep = clock, sleep

    def job(self) -> Job | None:
        """The job under way. Raises when its file is damaged: money may be on its way."""
        try:
            content, _ = files.read(self._path, _MAX_FILE_BYTES)
        except NotFound:
            return None
        try:
            return Job.read(Fields(strict.parse(content)))
        except SpeedpayError as error:
            raise SpeedpayError(
                f"{self._path} is damaged: it held transactions that may be on their way",
                hint="look for them at the address (speedpay wallet chain), then remove the file",
            ) from error

    def begin(self, wish: Mapping[str, str]) -> Job:
        job = Job(dict(wish), int(self._clock()))
        self._store(job)
        return job

    def finish(self) -> None:
        """The wish is fulfilled, or can never be: the next one may begin."""
        files.remove(self._path)

    def carry(
        self, job: Job, step: str, prepare: Callable[[], Unsigned], *, solid: bool = True
    ) -> tuple[Job, Receipt]:
        """The job, and what became of its ``step``: in a block, and past every reorg if ``solid``.

        Raises ChainRefused when the chain executed it and it failed: it will never be done, and the
        caller decides what becomes of the job. Anything else that is raised says nothing about it.
        """
        signed = None if step not in job.signed else Signed.from_stored(job.signed[step])
        never_sent = False
        while True:
            if signed is None:
                signed = prepare().sign(self._key)
                job = replace(job, signed=dict(job.signed) | {step: signed.text})
                self._store(job)
                self._report(step, "stored", job, None)
                never_sent = True
            receipt = self._result(signed, step, job, solid, never_sent)
            if receipt is not None:
                return job, succeeded(receipt)
            signed = None  # it can never be mined any more

    def _result(
        self, signed: Signed, step: str, job: Job, solid: bool, never_sent: bool
    ) -> Receipt | None:
        """Sends until there is a receipt; None once the transaction is lost for good.

        Raises ChainRefused for a fresh one that was refused, when it is past its expiry and not before:
        a node that says no and keeps the bytes would have the user pay a second time.
        """
        resend_at, seen, refusal = 0.0, False, None
        while True:
            if solid and (final := self._chain.receipt(signed.txid, solid=True)) is not None:
                self._report(step, "solid", job, final)
                return final
            receipt = self._chain.receipt(signed.txid)
            if receipt is not None and not seen:
                self._report(step, "seen", job, receipt)
                if not solid:
                    return receipt
            seen = receipt is not None  # a reorg may undo its block
            if not seen and time.monotonic() >= resend_at:
                if self._chain.expired(signed) and not self._chain.known(signed.txid):
                    if refusal is None:
                        return None
                    rest = {name: text for name, text in job.signed.items() if name != step}
                    self._store(replace(job, signed=rest))
                    raise refusal
                refused = self._send(signed, step, job)
                refusal = refused if never_sent or refused is None else refusal
                never_sent, resend_at = False, time.monotonic() + self._resend_s
            self._sleep(self._poll_s)

    def _send(self, signed: Signed, step: str, job: Job) -> ChainRefused | None:
        """A refusal says little: sent before, it may be in a block that this node has not seen, and
        only its expiry on a solid block says that it never comes."""
        try:
            self._chain.broadcast(signed)
        except ChainRefused as error:
            self._report(step, "refused", job, None)
            return error
        self._report(step, "sent", job, None)
        return None

    def _store(self, job: Job) -> None:
        files.write(self._path, json.dumps(job.to_json()).encode())


def _texts(value: object, name: str) -> dict[str, str]:
    fields = value if isinstance(value, dict) else None
    if fields is None or len(fields) > _MAX_STEPS + 4:
        raise Malformed("must be an object of texts", field=name)
    if not all(isinstance(text, str) for text in fields.values()):
        raise Malformed("must be an object of texts", field=name)
    return dict(fields)
