"""The ledger's thread for the chain: close an epoch, publish it, anchor it, read what has happened.

One *round* does each part that is due and never waits for one of them: what fails is an alarm, is
logged once, and is tried again in a later round, at most a minute later. Only a database that has
stopped ends the thread. Several processes of one ledger may each run one: every step is guarded in
the database.

An epoch is closed only when the one before stands on chain and the chain was read up to there. The
vault wants every deposit covered that was old at the previous anchor; so a closed epoch, of which
there is one content for ever, can always still be anchored, however long the outage.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from speedpay.chain.keys import ChainKey
from speedpay.chain.vault import Vault
from speedpay.errors import BooksBroken, ChainUnreachable, LedgerFailed, SpeedpayError
from speedpay.ledger import deposits, epochs, freeze
from speedpay.ledger.anchoring import Anchoring
from speedpay.ledger.chain_side import again, health, watch
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.leaves import Vault as Bound
from speedpay.ledger.service import Service
from speedpay.ledger_api.epochs import EpochState

_log = logging.getLogger("speedpay.ledger.chain")

LONGEST_PAUSE_S = 60.0
#: Steps of one epoch in one round: sign, send, see. More would be a circle.
_STEPS = 4
#: What one anchor burns, as measured: 31,380 energy at 100 sun and 0.5 kB at 1,000 sun.
ANCHOR_SUN = 3_700_000
TRX_LOOK_S = 30


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """``poll_s`` between rounds while all is well. ``from_block``: where the vault was deployed, for a
    vault that has a history already. ``low_anchors``: alarm below the cost of so many anchors."""

    poll_s: float = 3.0
    from_block: int | None = None
    low_anchors: int = 48


class ChainWorker:
    """``published`` is told the number of each epoch whose file has come to the disk, in the worker's
    own thread."""

    def __init__(
        self,
        service: Service,
        vault: Vault,
        key: ChainKey,
        settings: ChainSettings,
        published: Callable[[int], None] = lambda epoch: None,
    ) -> None:
        self._service = service
        self._vault = vault
        self._key = key
        self._settings = settings
        self._published = published
        self._anchoring = Anchoring(service.database, vault, key)
        self._keeper = Keeper(
            service.database.path.parent,
            service.database,
            service.keys,
            service.now,
            service.settings.withdrawals_per_epoch,
        )
        self._gap = again.Gap()
        self._alarms = health.Alarms()
        self._bound = False
        self._rare_alarm = ""
        self._trx_alarm = ""
        self._trx_counted_at = 0
        self._stop = threading.Event()

    def round(self) -> bool:
        """Everything that is due now. False when some part failed. Raises LedgerFailed."""
        found: dict[str, str] = {}
        if not self._bound:
            watch.make_row(self._service.database, self._service.now())
        if self._part("chain", found, self._bind):
            self._part("deposits", found, self._watch)
            self._part("epochs", found, self._close)
            self._part("anchor", found, self._anchor)
            self._part("health", found, self._count_trx)
        self._examine(found)
        sentences = self._alarms.keep(found)
        with self._service.database.write() as connection:
            watch.keep_alarms(connection, sentences, self._service.now())
        return not found

    # ---- the parts of a round ----

    def _bind(self) -> None:
        """Once: is it the right chain, and has it not seen more of this ledger than this database?"""
        if self._bound:
            return
        tron, terms = self._vault.tron, self._vault.terms()
        tron.check_network()
        chain_id = tron.chain_id.to_bytes(32)
        self._keeper.bind(Bound(chain_id, self._vault.address, terms.token))
        database = self._service.database
        watch.begin(database, self._vault, self._settings.from_block)
        anchored = self._vault.state().last_epoch
        with database.read() as connection:
            last = epochs.latest(connection)
        known = last.number if last else 0
        if anchored > known:
            # One node's word about a block that may vanish stops nothing.
            final = self._vault.last_anchor()
            if final is None or final.epoch <= known:
                raise ChainUnreachable(
                    f"a node tells of epoch {anchored}, which no final block holds", field="epochs"
                )
            raise BooksBroken(
                f"the chain holds epoch {anchored}, which this database does not know",
                field="epochs", hint="is it an old backup?",
            )  # fmt: skip
        self._rare_alarm = _too_rare(self._service.settings.epoch_interval_s, terms.silence)
        self._bound = True

    def _watch(self) -> None:
        try:
            watch.catch_up(self._service.database, self._vault, self._service.now())
        except ChainUnreachable as error:
            if error.field == "deposits":  # there is a gap
                self._gap.find_deposit(self._service.database)
            raise

    def _close(self) -> None:
        keeper, now = self._keeper, self._service.now()
        with self._service.database.read() as connection:
            last, frozen = epochs.latest(connection), freeze.epoch(connection)
        for epoch in keeper.resume():
            self._published(epoch.number)
        if frozen is not None or not self._due(last, now):
            return
        if self._gap.find_freeze(self._service.database, self._vault):
            raise ChainUnreachable(
                "the freeze of the vault was passed over, its block is read again", field="frozen"
            )
        self._must_cover_enough()
        epoch = keeper.publish(keeper.close(last.number + 1 if last else 1).number)
        _log.info("closed epoch %d", epoch.number)
        self._published(epoch.number)
        keeper.prune()

    def _due(self, last: epochs.Epoch | None, now: int) -> bool:
        """The chain's time counts, too: a clock that was a year ahead once, when an epoch was closed,
        must not put off the next one for a year."""
        if last is None:
            return True
        if last.state is not EpochState.SOLID:
            return False
        with self._service.database.read() as connection:
            anchored = health.last_anchor(connection)
        since = min(last.head.closed_at, anchored.time) if anchored else last.head.closed_at
        return now >= since + self._service.settings.epoch_interval_s

    def _must_cover_enough(self) -> None:
        """The vault takes no epoch that leaves out a deposit which was old at the anchor before, and an
        epoch has one content for ever. So none is closed before all up to that anchor are credited,
        nor by a clock that the chain's own time contradicts.
        """
        self._vault.tron.solid()
        database = self._service.database
        with database.read() as connection:
            anchored, covered = health.last_anchor(connection), deposits.covered(connection)
        if anchored is None:
            return
        made_at = again.uncredited_at(self._vault, covered)
        if made_at is not None and made_at < anchored.time:
            self._gap.find_deposit(database)
            raise ChainUnreachable(
                f"deposit {covered + 1} was passed over, its block is read again", field="deposits"
            )

    def _anchor(self) -> None:
        for _ in range(_STEPS):
            if not self._anchoring.step(self._service.now()):
                return

    def _count_trx(self) -> None:
        now = self._service.now()
        if now < self._trx_counted_at + TRX_LOOK_S:
            return
        held = self._vault.tron.trx_balance(self._key.address)
        low = held < self._settings.low_anchors * ANCHOR_SUN
        self._trx_alarm = (
            f"the anchor key {self._key.base58} holds TRX for about {held // ANCHOR_SUN} anchors"
            if low
            else ""
        )
        with self._service.database.write() as connection:
            watch.keep_low_trx(connection, low)
        self._trx_counted_at = now

    def _examine(self, found: dict[str, str]) -> None:
        """What is wrong although nothing has failed just now; asks no node."""
        interval_s, now = self._service.settings.epoch_interval_s, self._service.now()
        with self._service.database.read() as connection:
            frozen = freeze.epoch(connection)
            late = health.late(connection, interval_s, now)
        if self._trx_alarm:
            found["trx"] = self._trx_alarm
        if self._rare_alarm:
            found["silence"] = self._rare_alarm
        if frozen is not None:
            found["frozen"] = f"the vault is frozen for good, at epoch {frozen}"
        elif late:
            found["late"] = late

    def _part(self, name: str, found: dict[str, str], work: Callable[[], None]) -> bool:
        try:
            work()
            return True
        except BooksBroken as error:
            self._service.database.stop(str(error))
            _log.critical("%s", error)
            raise LedgerFailed(f"has stopped: {error}", hint=error.hint) from error
        except LedgerFailed:
            if self._service.database.stopped:
                raise
            found[name] = "the ledger's own database is busy or full"
        except SpeedpayError as error:
            found[name] = str(error)
        return False

    def run(self) -> None:
        """Rounds until ``stop``, or until the ledger has stopped writing."""
        pause_s = self._settings.poll_s
        while not self._stop.is_set() and not self._service.database.stopped:
            try:
                well = self.round()
            except LedgerFailed as error:
                _log.critical("%s", error)
                return
            except Exception:  # our own mistake: seen in the log, and the ledger goes on serving
                _log.exception("a round on the chain failed")
                well = False
            pause_s = self._settings.poll_s if well else min(2 * pause_s, LONGEST_PAUSE_S)
            self._stop.wait(pause_s)

    def stop(self) -> None:
        self._stop.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run, name="ledger's chain", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join(10)


def _too_rare(interval_s: int, silence_s: int) -> str:
    """One anchor may fail and the next must still come in time; else anybody ends the vault."""
    if 2 * interval_s < silence_s:
        return ""
    return (
        f"an epoch every {interval_s} s is too rare: the vault lets anybody freeze it for good after "
        f"{silence_s} s without an anchor"
    )
