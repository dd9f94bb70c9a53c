"""Heads among peers: who shows what, what is asked of the ledger, and what a contradiction ends, for good."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from speedpay.certificates import CertificateSet, Revocation
from speedpay.client import gossip as shell
from speedpay.client.gossip import HEAD_BURST, MAX_WANTED, Gossip
from speedpay.client.heads import Contradiction, Heads, write_evidence
from speedpay.client.store import Store
from speedpay.errors import (
    BadSignature,
    LedgerUnreachable,
    Malformed,
    NotFound,
    OverLimit,
    ProofBroken,
    SpeedpayError,
    Stale,
)
from speedpay.ledger_api.epochs import EpochState, EpochView
from speedpay.peer.messages import HeadMessage
from speedpay.proof.evidence import CertifiedHead, Evidence
from speedpay.proof.head import EpochHead
from speedpay.proof.heads import KEPT
from speedpay.signing import Certificate, Domain, SigningKey
from speedpay.units import Amount
from tests.unit.proof.test_heads import UTC, chain, signed
from tests.vectors.generate import DOMAIN, FIRST, HEADS, PAYER, RESPONSE, ROOT, TWIN
from tests.vectors.heads import certified

ANN, BEN, EVE = 1, 2, 3  # connections
OTHER = Domain(DOMAIN.network, bytes(32))


@dataclass
class Ledger:
    """What the ledger answers about each epoch; None: about its newest."""

    shows: dict[int | None, EpochHead | SpeedpayError] = field(default_factory=dict)
    asked: list[int | None] = field(default_factory=list)

    async def epoch(self, number: int | None = None) -> EpochView:
        self.asked.append(number)
        shown = self.shows.get(number, NotFound("there is no such epoch", field="epoch"))
        if isinstance(shown, SpeedpayError):
            raise shown
        return EpochView(signed(shown), EpochState.PUBLISHED)


@dataclass
class Client:
    """The gossip of one client, with a store of its own on disk."""

    home: Path
    domain: Domain = DOMAIN
    now: float = 1000.0
    ledger_keys: CertificateSet = field(default_factory=lambda: CertificateSet(DOMAIN))

    def __post_init__(self) -> None:
        self.ledger = Ledger()
        self.sent: list[tuple[int, HeadMessage]] = []
        self.stopped: list[Contradiction] = []
        self.notes: list[str] = []
        self.start()

    def start(self) -> None:
        self.store = Store(self.home / "client.db")
        self.heads = Heads(self.store, self.domain, self.home / "evidence")
        self.gossip = Gossip(
            self.heads, self.ledger, lambda: self.ledger_keys,
            lambda *sent: self.sent.append(sent),
            self.stopped.append, self.notes.append, lambda: UTC,
        )  # fmt: skip

    def restart(self) -> None:
        """As after a kill: only what is on disk is left."""
        self.store.close()
        self.start()

    def hear(
        self, who: int, one: EpochHead | CertifiedHead, other: CertifiedHead | None = None
    ) -> None:
        self.now += 1.0
        shown = signed(one) if isinstance(one, EpochHead) else one
        self.gossip.heard(who, HeadMessage.of(shown, other), self.now, UTC + 60)

    def look(self, epoch: int | None = None) -> None:
        asyncio.run(self.gossip.look(epoch))

    def told(self, who: int) -> list[int]:
        return [message.head.epoch for to, message in self.sent if to == who]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(tmp_path)
    yield made
    made.store.close()


def convicted(client: Client, says: str) -> Contradiction:
    """The market was stopped once, for this, and the evidence is a file that anybody can check."""
    (found,) = client.stopped
    assert found.says == says
    assert client.heads.contradiction() == found
    evidence = Evidence.from_json(found.path.read_bytes())
    assert evidence.verdict == says
    assert evidence.account == bytes(16), "it is about no account"
    with pytest.raises(ProofBroken) as told:
        evidence.check()
    assert (told.value.field, told.value.message) == ("other_head", says)
    return found


# ------------------------------------------------------------------------------------ what is said


def test_whoever_is_met_is_shown_the_newest_head_once(client: Client) -> None:
    client.gossip.met(ANN)
    assert client.sent == [], "nothing is known yet"
    client.ledger.shows[None] = HEADS["second"]
    client.look()
    client.look()
    client.gossip.met(BEN)
    assert client.told(ANN) == client.told(BEN) == [2]


def test_news_of_one_peer_is_told_to_the_others_and_not_back(client: Client) -> None:
    for who in (ANN, BEN, EVE):
        client.gossip.met(who)
    client.hear(ANN, HEADS["first"])
    client.hear(BEN, HEADS["second"])
    client.hear(ANN, HEADS["second"])
    assert (client.told(ANN), client.told(BEN), client.told(EVE)) == ([2], [1], [1, 2])
    client.gossip.gone(EVE)
    client.hear(ANN, HEADS["fifth"])
    assert client.told(EVE) == [1, 2]


def test_the_same_head_is_shown_to_everyone_and_stays_known_after_a_restart(
    client: Client,
) -> None:
    client.gossip.met(ANN)
    client.hear(ANN, HEADS["second"])
    client.restart()
    client.gossip.met(BEN)
    client.gossip.met(EVE)
    ((_, to_ben), (_, to_eve)) = client.sent[-2:]
    assert to_ben == to_eve == HeadMessage.of(signed(HEADS["second"]))


def test_heads_of_another_ledger_are_another_ledgers(client: Client) -> None:
    client.hear(ANN, HEADS["first"])
    other = Heads(client.store, OTHER, client.home / "evidence")
    assert other.known() == {}
    other.keep(TWIN)
    assert client.heads.known() == {1: FIRST}


# ----------------------------------------------------------------------------------- contradictions


def test_two_heads_of_one_epoch_from_two_peers_stop_everything(client: Client) -> None:
    for who in (ANN, BEN, EVE):
        client.gossip.met(who)
    client.hear(ANN, HEADS["first"])
    client.hear(BEN, HEADS["twin"])
    found = convicted(client, "the ledger signed two different heads for epoch 1")
    assert (found.one, found.other) == (FIRST, TWIN)
    evidence = HeadMessage.of(FIRST, TWIN)
    assert [to for to, message in client.sent if message == evidence] == [ANN, BEN, EVE]
    client.gossip.met(4)
    assert client.sent[-1] == (4, evidence), "who comes later is told as well"


def test_a_head_of_a_peer_that_is_not_the_ledgers_own_stops_everything(client: Client) -> None:
    """The ledger is asked for its own head of that epoch, because a peer has shown one."""
    client.gossip.met(ANN)
    client.ledger.shows = {None: HEADS["twin"], 1: HEADS["twin"]}
    client.hear(ANN, HEADS["first"])
    client.look(1)
    convicted(client, "the ledger signed two different heads for epoch 1")


def test_the_ledgers_newest_head_is_held_against_what_peers_showed_before(client: Client) -> None:
    client.hear(ANN, HEADS["first"])
    client.ledger.shows[None] = HEADS["second of another first"]
    client.look()
    convicted(client, "the head of epoch 2 follows another head of epoch 1")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("first", "second of another first", "the head of epoch 2 follows another head of epoch 1"),
        ("second of another first", "first", "the head of epoch 2 follows another head of epoch 1"),
        ("second", "fifth, transfers lost", "the journal lost transfers between epochs 2 and 5"),
        ("second", "fifth, transfers rewritten", "the journal was rewritten between epochs 2 and 5"),
        ("second", "fifth, a deposit taken back", "credited deposits were taken back between epochs 2 and 5"),
    ],
    ids=["a rewritten chain", "from behind", "a rollback", "a rewritten journal", "a lost deposit"],
)  # fmt: skip
def test_a_rewritten_chain_and_a_rollback_stop_everything(
    client: Client, before: str, after: str, says: str
) -> None:
    client.hear(ANN, HEADS[before])
    client.restart()
    client.hear(BEN, HEADS[after])
    convicted(client, says)


def test_older_heads_of_an_honest_ledger_are_no_contradiction(client: Client) -> None:
    honest = chain(40)
    for head in (honest[39], honest[3], honest[38], honest[0], honest[20], *honest):
        client.hear(ANN, head)
        client.ledger.shows[None] = head  # the ledger's newest need not be the newest that is known
        client.look()
    assert client.stopped == client.notes == []
    assert sorted(client.heads.known()) == list(range(1, 41))
    assert client.told(BEN) == []


def test_only_the_newest_epochs_are_kept(client: Client) -> None:
    honest = chain(KEPT + 3)
    for head in honest[:KEPT]:
        client.heads.keep(signed(head))
    client.restart()
    for head in (*honest[KEPT:], honest[0]):
        client.hear(ANN, head)
    assert sorted(client.heads.known()) == list(range(4, KEPT + 4))


def test_old_heads_that_anybody_can_repeat_cost_no_look_at_the_disk(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are public, and reading all that is kept takes as long as ten checks of signatures."""
    honest = chain(KEPT + 10)
    for head in honest:
        client.hear(ANN, head)
    monkeypatch.setattr(client.heads, "known", None)
    for head in (honest[0], honest[9], honest[-1]):
        client.hear(EVE, head)
    assert sorted(client.gossip.known) == list(range(11, KEPT + 11))


# ------------------------------------------------------------------------------ forgers and floods


def test_a_forged_head_is_refused_and_changes_nothing(client: Client) -> None:
    client.hear(ANN, HEADS["first"])
    forged = certified(HEADS["twin"], PAYER, DOMAIN, FIRST.certificate)
    with pytest.raises(BadSignature) as refused:
        client.hear(EVE, forged)
    assert refused.value.is_misbehaviour, "its sender is banned"
    assert client.heads.known() == {1: FIRST}
    assert client.stopped == []


def test_forged_evidence_is_refused_and_evidence_of_nothing_as_well(client: Client) -> None:
    forged = certified(HEADS["twin"], PAYER, DOMAIN, FIRST.certificate)
    for one, other in ((FIRST, forged), (forged, FIRST)):
        with pytest.raises(BadSignature):
            client.hear(EVE, one, other)
    for other in (FIRST, signed(HEADS["second"])):
        with pytest.raises(Malformed, match=r"head\.other"):
            client.hear(EVE, FIRST, other)
    theirs = SigningKey(bytes([7]) * 32)
    with pytest.raises(BadSignature):  # of another ledger: says nothing of ours
        client.hear(
            EVE, *(certified(HEADS[n], theirs, OTHER, FIRST.certificate) for n in ("first", "twin"))
        )
    assert client.stopped == []


def test_evidence_is_checked_believed_and_passed_on(client: Client, tmp_path: Path) -> None:
    client.gossip.met(ANN)
    client.gossip.met(BEN)
    client.hear(ANN, FIRST, TWIN)
    convicted(client, "the ledger signed two different heads for epoch 1")
    assert (BEN, HeadMessage.of(FIRST, TWIN)) in client.sent
    client.hear(BEN, TWIN, FIRST)
    assert len(client.stopped) == 1, "once is enough"


def test_a_flood_of_heads_costs_a_peer_its_own_rate_and_the_ledger_few_questions(
    client: Client,
) -> None:
    honest = [HeadMessage.of(signed(head)) for head in chain(60)]
    client.gossip.met(EVE)
    for message in honest[: int(HEAD_BURST)]:
        client.gossip.heard(EVE, message, client.now, UTC)
    for message in honest[int(HEAD_BURST) :]:
        with pytest.raises(OverLimit, match="too many heads"):
            client.gossip.heard(EVE, message, client.now, UTC)
    assert not OverLimit.is_misbehaviour
    client.gossip.met(ANN)
    client.hear(ANN, chain(60)[-1])  # who floods takes nothing from others
    for at in range(20):
        client.gossip.heard(EVE, honest[at], client.now + 10 + at, UTC)
    assert client.ledger.asked == []
    assert len(client.gossip._wanted) == MAX_WANTED
    assert max(client.gossip._wanted) == 60


def test_an_epoch_that_is_yet_to_close_is_refused_without_harm(client: Client) -> None:
    with pytest.raises(Stale):
        client.gossip.heard(ANN, HeadMessage.of(FIRST), 0.0, FIRST.signed.head.closed_at - 300)
    assert client.heads.known() == {}


# -------------------------------------------------------------------------------------- the ledger


def test_a_ledger_that_denies_an_epoch_that_it_signed_is_told_of_once(client: Client) -> None:
    client.hear(ANN, HEADS["fifth"])
    client.look(5)
    client.look(5)
    (said,) = client.notes
    assert said.startswith("the ledger says that it has no epoch 5, and a peer has the head")
    assert client.stopped == []


def test_what_the_ledger_shows_that_is_no_head_of_its_own_convicts_nobody(client: Client) -> None:
    client.hear(ANN, HEADS["first"])
    for shown in (
        LedgerUnreachable("away"), replace(HEADS["twin"], closed_at=2**40), HEADS["second"],
    ):  # fmt: skip
        client.ledger.shows[1] = shown
        client.look(1)
    assert client.stopped == client.notes == []
    assert client.heads.known() == {1: FIRST}


def test_the_ledger_is_asked_for_its_newest_and_for_what_peers_show(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "PAUSE_S", 0.0)
    client.ledger.shows = {
        None: HEADS["first"],
        2: HEADS["second"],
        5: HEADS["fifth, transfers lost"],
    }

    async def scene() -> None:
        running = asyncio.create_task(client.gossip.run())
        await until(lambda: client.ledger.asked == [None])
        client.hear(ANN, HEADS["second"])
        await until(lambda: client.ledger.asked == [None, 2])
        client.hear(ANN, HEADS["second"])
        client.hear(ANN, HEADS["fifth"])
        await asyncio.wait_for(running, 30)  # convicted, so it ends
        assert client.ledger.asked == [None, 2, 5]

    asyncio.run(scene())
    convicted(client, "the ledger signed two different heads for epoch 5")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


# ------------------------------------------------------------------------------------------ for good


@pytest.mark.parametrize("at", ["before it is written down", "before the file", "before the stop"])
def test_a_crash_between_seeing_and_stopping_is_no_way_out(
    client: Client, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    client.hear(ANN, HEADS["first"])
    with monkeypatch.context() as patch:
        if at == "before it is written down":
            patch.setattr(client.heads, "convict", die)
        elif at == "before the file":
            patch.setattr(shell, "write_evidence", die)
        else:
            patch.setattr(client.gossip, "_stop", die)
        with pytest.raises(Killed):
            client.hear(BEN, HEADS["twin"])
    client.restart()
    if at == "before it is written down":
        assert client.heads.contradiction() is None
        client.hear(BEN, HEADS["twin"])  # what it had seen before is still known
    found = client.heads.contradiction()
    assert found is not None
    write_evidence(found)
    assert found.says == "the ledger signed two different heads for epoch 1"
    assert Evidence.from_json(found.path.read_bytes()) == found.evidence()


def test_another_client_of_the_user_stops_too(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, one home: one knows the first head, the other hears of the twin."""
    other = Client(client.home)
    client.hear(ANN, HEADS["first"])
    other.hear(BEN, HEADS["twin"])
    convicted(other, "the ledger signed two different heads for epoch 1")
    monkeypatch.setattr(shell, "PAUSE_S", 0.0)
    asyncio.run(asyncio.wait_for(client.gossip.run(), 30))
    convicted(client, "the ledger signed two different heads for epoch 1")
    other.store.close()


def test_its_owner_may_go_on_and_is_stopped_again_by_news_only(client: Client) -> None:
    client.hear(ANN, HEADS["first"])
    client.hear(BEN, HEADS["twin"])
    found = client.heads.contradiction()
    assert found is not None
    client.heads.accept(HEADS["second"].closed_at - 1)
    client.restart()
    assert client.heads.contradiction() is None
    client.stopped.clear()
    client.hear(ANN, HEADS["first"])
    client.hear(BEN, HEADS["twin"])
    client.hear(EVE, FIRST, TWIN)
    assert client.stopped == []
    assert found.path.exists(), "the evidence stays"
    client.hear(ANN, HEADS["second"])
    client.hear(BEN, HEADS["second of another first"])
    convicted(client, "the ledger signed two different heads for epoch 2")


def restored(honest: list[EpochHead], kept: int) -> list[EpochHead]:
    """The same ledger's heads after it was restored from a copy of its first ``kept`` epochs."""
    made = honest[:kept]
    for head in honest[kept:]:
        prev, root = made[-1].hash(DOMAIN), bytes([head.epoch]) * 32
        made.append(replace(head, prev=prev, journal_root=root, journal_size=head.journal_size + 1))
    return made


def test_who_went_on_is_not_stopped_again_by_what_was_signed_before(client: Client) -> None:
    """A ledger was restored from an old copy, and its user goes on. Others, and whoever wants to harm him,
    still have the branch that was lost: each of its epochs would stop him once more."""
    lost = chain(9)
    new = restored(lost, 3)
    client.hear(ANN, lost[3])
    client.hear(BEN, new[3])
    assert len(client.stopped) == 1
    client.heads.accept(UTC)
    client.restart()
    client.stopped.clear()
    later = replace(new[-1], epoch=10, prev=new[-1].hash(DOMAIN), closed_at=UTC + 60)
    for one, other in zip(lost[4:], new[4:], strict=True):
        client.hear(EVE, signed(one), signed(other))
        client.hear(EVE, one)
        client.hear(BEN, other)
    client.hear(BEN, later)
    client.hear(EVE, signed(lost[-1]), signed(later))
    client.hear(EVE, lost[-1])
    assert client.stopped == []
    twin = replace(later, credit=later.credit + Amount(1))
    client.hear(EVE, twin)
    convicted(client, "the ledger signed two different heads for epoch 10")


def test_a_far_epoch_that_was_accepted_does_not_end_the_watch(client: Client) -> None:
    """Whoever signed one head of an epoch far ahead would be judged no more, ever."""
    far = replace(HEADS["fifth, transfers lost"], epoch=2**62)
    client.hear(ANN, HEADS["second"])
    client.hear(EVE, far)
    client.heads.accept(UTC)
    client.restart()
    client.stopped.clear()
    next_one = replace(HEADS["fifth"], closed_at=UTC + 60)
    client.hear(ANN, next_one)
    client.hear(BEN, replace(next_one, credit=Amount(1)))
    convicted(client, "the ledger signed two different heads for epoch 5")


def test_heads_of_epochs_far_ahead_end_the_watch_no_longer_than_to_the_next_epoch(
    client: Client,
) -> None:
    """They would fill what is kept, and every epoch that is real would be too old to be looked at."""
    for ahead in range(KEPT):
        client.hear(EVE, replace(HEADS["second"], epoch=2**62 + 2 * ahead, prev=bytes([1]) * 32))
    client.hear(ANN, HEADS["fifth, nothing transferred since the second"])
    (found,) = client.stopped
    assert found.says.startswith("epoch 46116860184273")
    assert found.says.endswith(" closed before epoch 5")


def test_a_head_by_a_key_that_is_revoked_meanwhile_convicts_nobody(client: Client) -> None:
    """A thief signs with a stolen key, and we hear of the revocation only after his head."""
    client.hear(EVE, HEADS["twin"])
    at = HEADS["twin"].closed_at
    revocation = Revocation.issue(ROOT, DOMAIN.network, RESPONSE.public, at)
    renewed = Certificate.issue(ROOT, DOMAIN.network, PAYER.public, at - 600, at + 9000)
    client.ledger_keys = client.ledger_keys.merged((renewed,), (revocation,), UTC)
    honest = certified(HEADS["first"], PAYER, DOMAIN, renewed)
    client.gossip.met(ANN)
    client.hear(BEN, honest)
    assert client.stopped == []
    assert client.sent == [(ANN, HeadMessage.of(honest))]
    client.restart()
    assert client.heads.known() == {1: honest}


def test_a_contradiction_that_cannot_be_read_any_more_still_stops(client: Client) -> None:
    client.hear(ANN, HEADS["first"])
    client.hear(BEN, HEADS["twin"])
    with closing(sqlite3.connect(client.home / "client.db")) as db:
        db.execute("UPDATE contradictions SET body = x'00'")
        db.execute("UPDATE heads SET body = 'no head'")
        db.commit()
    with pytest.raises(ProofBroken, match="two different heads for epoch 1; the two heads cannot"):
        client.heads.contradiction()
    assert client.heads.known() == {}
    client.heads.accept(UTC)
    assert client.heads.contradiction() is None


def test_the_sentence_says_what_why_and_what_next(client: Client) -> None:
    client.hear(ANN, HEADS["first"])
    client.hear(BEN, HEADS["twin"])
    (found,) = client.stopped
    error = found.error()
    assert error.exit_code == 10
    assert error.message == (
        "the ledger signed two different heads for epoch 1: it shows people different books, so nothing is"
        " bought or sold there any more; what was earned is redeemed"
    )
    assert error.hint is not None
    assert str(found.path) in error.hint
    assert "speedpay heads --go-on" in error.hint
    assert json.loads(found.path.read_text())["other_head"] is not None
