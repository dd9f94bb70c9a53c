"""Killed at each of prepare, store, broadcast, seen, solid: the transaction is in the chain once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.chain.answers import Receipt
from speedpay.chain.transaction import Signed
from speedpay.errors import ChainRefused, ChainUnreachable, SpeedpayError
from speedpay.wallet.outbox import Job, Outbox
from tests.unit.wallet.onchain import SUN, World, key, world

BOB = key("bob").address
WISH = {"to": BOB.hex(), "amount": "5"}


@pytest.fixture(scope="module")
def chain() -> Iterator[World]:
    with world() as made:
        yield made


class Killed(BaseException):
    """As a power cut: nothing may catch it."""


def _kill_at(news: str) -> object:
    def report(_step: str, happened: str, _job: Job, _receipt: Receipt | None) -> None:
        if happened == news:
            raise Killed

    return report


def _pay(chain: World, outbox: Outbox, name: str, *, solid: bool = True) -> Receipt:
    owner = key(name).address
    job = outbox.job() or outbox.begin(WISH)
    prepare = lambda: chain.tron.prepare_transfer(owner, BOB, 5 * SUN)  # noqa: E731
    _, receipt = outbox.carry(job, "pay", prepare, solid=solid)
    outbox.finish()
    return receipt


def _received(chain: World, before: int) -> int:
    chain.solid()
    return (chain.tron.trx_balance(BOB) - before) // SUN


@pytest.mark.parametrize("news", ["stored", "sent", "seen", "solid"])
def test_a_job_killed_at_any_moment_is_done_once(chain: World, tmp_path: Path, news: str) -> None:
    who, before = chain.rich(f"killed at {news}"), chain.tron.trx_balance(BOB)
    with pytest.raises(Killed):
        _pay(chain, chain.outbox(tmp_path, who, report=_kill_at(news)), f"killed at {news}")
    outbox = chain.outbox(tmp_path, who)
    stored = outbox.job()
    assert stored is not None
    assert stored.resumed
    receipt = _pay(chain, outbox, f"killed at {news}")
    assert receipt.txid == stored.txid("pay")
    assert _received(chain, before) == 5
    assert outbox.job() is None


def test_a_job_killed_before_it_was_stored_has_sent_nothing(chain: World, tmp_path: Path) -> None:
    who, before = chain.rich("early"), chain.tron.trx_balance(BOB)
    outbox = chain.outbox(tmp_path, who)
    job = outbox.begin(WISH)
    with pytest.raises(Killed):
        outbox.carry(job, "pay", lambda: (_ for _ in ()).throw(Killed))
    again = chain.outbox(tmp_path, who).job()
    assert again is not None
    assert not again.signed
    assert _received(chain, before) == 0


def test_an_answer_that_is_lost_is_not_paid_twice(chain: World, tmp_path: Path) -> None:
    who, before = chain.rich("lost answer"), chain.tron.trx_balance(BOB)
    node = chain.devnet.nodes[0]
    node.fault("lost_but_mined", count=1)
    _pay(chain, chain.outbox(tmp_path, who), "lost answer")
    node.heal()
    assert _received(chain, before) == 5


def test_what_was_accepted_and_never_mined_is_signed_anew_after_its_expiry_only(
    chain: World, tmp_path: Path
) -> None:
    who, before = chain.rich("never mined"), chain.tron.trx_balance(BOB)
    chain.solid()
    node = chain.devnet.nodes[0]
    node.fault("accepted_never_mined", count=1)
    signed: list[str] = []

    def report(_step: str, news: str, job: Job, _receipt: Receipt | None) -> None:
        if news == "stored":
            signed.append(job.signed["pay"])
        elif news == "sent" and len(signed) == 1:
            chain.devnet.advance(120)  # past the expiry; solid after 20 blocks more

    _pay(chain, chain.outbox(tmp_path, who, report=report), "never mined")
    node.heal()
    first, second = (Signed.from_stored(one) for one in signed)
    assert first.txid != second.txid
    assert _received(chain, before) == 5


def test_a_block_that_is_undone_takes_nothing_away(chain: World, tmp_path: Path) -> None:
    who, before = chain.rich("reorg"), chain.tron.trx_balance(BOB)
    undone = []

    def report(_step: str, news: str, _job: Job, _receipt: Receipt | None) -> None:
        if news == "seen" and not undone:
            undone.append(chain.devnet.reorg(1, drop=True))

    _pay(chain, chain.outbox(tmp_path, who, report=report), "reorg")
    assert undone
    assert _received(chain, before) == 5


def test_a_transaction_that_is_refused_leaves_nothing_behind(chain: World, tmp_path: Path) -> None:
    outbox = chain.outbox(tmp_path, key("a beggar"))
    job = outbox.begin(WISH)
    owner = key("a beggar").address
    with pytest.raises(ChainRefused):
        outbox.carry(job, "pay", lambda: chain.tron.prepare_transfer(owner, BOB, 5 * SUN))
    left = outbox.job()
    assert left is not None
    assert not left.signed


class _Refuses:
    """A chain whose node says no to the first transaction, keeps it, and gives it on later or never."""

    def __init__(self, chain: World, later: bool) -> None:
        self._chain, self._later, self.refused = chain, later, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._chain.tron, name)

    def broadcast(self, signed: Signed) -> None:
        self.refused += 1
        if self._later:
            self._chain.tron.broadcast(signed)
        elif self.refused == 2:
            self._chain.devnet.advance(120)  # past the expiry
        raise ChainRefused("no", field="SIGERROR")


@pytest.mark.parametrize("later", [True, False])
def test_what_a_node_refuses_and_keeps_is_not_paid_a_second_time(
    chain: World, tmp_path: Path, later: bool
) -> None:
    name = f"refused {later}"
    who, before = chain.rich(name), chain.tron.trx_balance(BOB)
    outbox = Outbox(
        tmp_path, "job", _Refuses(chain, later), who, poll_s=0, resend_s=0,
        sleep=lambda _: _mined(chain),
    )  # fmt: skip
    if later:
        _pay(chain, outbox, name)
    else:
        with pytest.raises(ChainRefused, match="no"):
            _pay(chain, outbox, name)
        left = outbox.job()
        assert left is not None
        assert not left.signed, "nothing of it can be in a block any more"
    assert _received(chain, before) == (5 if later else 0)


def _mined(chain: World) -> None:
    chain.devnet.mine()


def test_with_the_chain_away_the_job_stays(chain: World, tmp_path: Path) -> None:
    who, before = chain.rich("away"), chain.tron.trx_balance(BOB)
    node = chain.devnet.nodes[0]
    outbox = chain.outbox(tmp_path, who, report=lambda *_: node.fault("http500", count=10_000))
    with pytest.raises(ChainUnreachable):
        _pay(chain, outbox, "away")
    node.heal()
    _pay(chain, chain.outbox(tmp_path, who), "away")
    assert _received(chain, before) == 5


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b'{"wish":{},"begun":1,"signed":{"pay":"{}"}}']
)
def test_a_damaged_job_stops_whatever_comes_next(
    chain: World, tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / "job.job").write_bytes(damage)
    with pytest.raises(SpeedpayError, match="may be on their way"):
        chain.outbox(tmp_path, key("anybody")).job()
