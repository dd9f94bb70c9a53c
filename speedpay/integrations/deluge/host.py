"""deluged's side of the pipe: the extension in its session, and the payer's process beside it.

Everything here runs on the reactor's thread but ``_guest`` and ``_sights``, which wait for libtorrent.
``reactor`` and the two helpers of Twisted's come as arguments: there is no Twisted where our tests import.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from speedpay import __version__
from speedpay.errors import InvalidSetting, Malformed, NativeUnavailable, SpeedpayError
from speedpay.integrations.deluge import wire
from speedpay.integrations.deluge.life import NEXT, Event, State
from speedpay.market.governor import SAMPLE_S
from speedpay.swarm.guest import Guest, Sight
from speedpay.swarm.torrents import BATCH_S

#: Of the standard class, into Deluge's handlers: the class that Deluge 2.0 puts in its place fails on
#: Python 3.11 at every word.
_log = logging.Logger("speedpay")
_log.parent = logging.getLogger()
LOOK_S = 0.3
#: A payer that died is started again after this, and each time after twice as long, until it has been told
#: to stop. An extension that has been in the session leaves some 50 KB there.
RESTART_S = 10.0
MOST_RESTART_S = 3600.0
#: A payer that has been told to stop has this long: see ``client/loop.py``, which needs some 14 at most.
LEAVE_S = 25.0
_LOG_LINES = 20


class Wanted(NamedTuple):
    """A torrent of deluged's that is to be paid for, by its infohash as events call it."""

    handle: Any
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Twisted:
    """What is used of it."""

    reactor: Any
    deferred: Callable[[], Any]
    to_thread: Callable[..., Any]


class Host:
    """``wanted`` says which torrents are to be paid for now, ``asks`` which have an ask of their own.
    ``command`` starts the payer."""

    def __init__(
        self,
        twisted: Twisted,
        session: Any,
        command: list[str],
        wanted: Callable[[], Mapping[bytes, Wanted]],
        asks: Callable[[], Mapping[bytes, str]],
    ) -> None:
        self.state = State.OFF
        self.why = ""
        self.notes: list[str] = []
        self._twisted = twisted
        self._reactor = twisted.reactor
        self._session = session
        self._command = command
        self._wanted = wanted
        self._asks = asks
        self._options: Mapping[str, str] = {}
        self._guest: Guest | None = None
        self._process: Any = None
        self._unpacker = wire.Unpacker()
        self._reading = self._full = self._competing = False
        self._told_uplink: wire.Uplink | None = None
        self._followed: dict[bytes, Wanted] = {}
        self._described: set[bytes] = set()
        self._sent: dict[int, int] = {}
        self._asked: dict[int, Any] = {}
        self._questions = 0
        self._calls: dict[str, Any] = {}
        self._left: list[Any] = []
        self._starts = 0
        self._restart_s = RESTART_S

    # ---- starting and leaving ----

    def start(self, options: Mapping[str, str]) -> None:
        """With these settings; does nothing while it runs. What fails is in ``state`` and ``why``."""
        if not self._turn(Event.START):
            return
        self._options, self.why = options, ""
        self._starts += 1
        start = self._starts

        def made(found: Guest | NativeUnavailable) -> None:
            if isinstance(found, NativeUnavailable):
                self._fail(str(found))
            elif self.state is State.STARTING and self._starts == start:
                self._join(found)
            else:
                found.close()  # told to leave meanwhile

        # It asks libtorrent hundreds of times.
        joining = self._twisted.to_thread(_guest, self._session)
        joining.addCallbacks(made, lambda failure: self._fail(failure.getErrorMessage()))

    def _join(self, guest: Guest) -> None:
        self._guest = guest
        self._unpacker, self._told_uplink = wire.Unpacker(), None
        self._followed, self._described, self._sent = {}, set(), {}
        self._full = self._competing = False
        try:
            self._process = self._reactor.spawnProcess(
                self, self._command[0], self._command, env=os.environ,
                childFDs={0: "w", 1: "r", 2: "r", wire.SPEAKS: "r"},
            )  # fmt: skip
        except OSError as error:
            self._fail(f"{self._command[0]} cannot be started: {error.strerror}")
            return
        self._process.pipes[0].registerProducer(self, True)
        self._say(
            wire.Start(__version__, self._options, self._asks(), guest.uplink(), guest.free_slots)
        )

    def stop(self) -> Any:
        """A Deferred: everybody is an ordinary peer again, and what was earned is redeemed, if it could be.

        deluged's settings are as it had them when this returns.
        """
        done = self._twisted.deferred()
        self._restart_s = RESTART_S
        self._cancel("restart")
        self._turn(Event.LEAVE)
        if self.state is not State.LEAVING:
            done.callback(None)
            return done
        self._left.append(done)
        if self._process is None:
            self._ended()
            return done
        if self._guest is not None:
            self._guest.give_back()
        self._say(wire.Stop())
        self._later("kill", LEAVE_S, self._kill)
        return done

    def _turn(self, event: Event) -> bool:
        new = NEXT.get((self.state, event))
        if new is None:
            return False
        _log.info("%s", new.value)
        self.state = new
        return True

    def _fail(self, why: str) -> None:
        self._turn(Event.FAILS)
        self.why = why
        _log.error("%s", why)
        self._release()

    def _release(self) -> None:
        """The session is deluged's alone again."""
        for name in ("look", "govern", "drain"):
            self._cancel(name)
        self._stop_reading()
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.close()
        for answer in self._asked.values():
            answer.errback(InvalidSetting("speedpay has stopped", field="state"))
        self._asked = {}

    def _kill(self) -> None:
        if self._process is not None:
            self._process.signalProcess("KILL")

    # ---- the payer's process, as Twisted tells of it ----

    def makeConnection(self, process: Any) -> None:  # noqa: N802
        pass

    def childDataReceived(self, descriptor: int, data: bytes) -> None:  # noqa: N802
        if descriptor != wire.SPEAKS:
            for line in data.decode("utf-8", "replace").splitlines()[-_LOG_LINES:]:
                _log.info("%s", line)
            return
        for message in self._unpacker.feed(data):
            self._heard(message)

    def childConnectionLost(self, descriptor: int) -> None:  # noqa: N802
        pass

    def processExited(self, reason: Any) -> None:  # noqa: N802
        pass

    def processEnded(self, reason: Any) -> None:  # noqa: N802
        self._process = None
        self._cancel("kill")
        self._release()
        if self.state in (State.STARTING, State.RUNNING):
            self.why = f"its process ended: {reason.getErrorMessage()}"
            _log.error("%s", self.why)
            self._later("restart", self._restart_s, lambda: self.start(self._options))
            self._restart_s = min(2 * self._restart_s, MOST_RESTART_S)
        self._ended()

    def _ended(self) -> None:
        self._turn(Event.ENDED)
        left, self._left = self._left, []
        for done in left:
            done.callback(None)

    # ---- back-pressure of the pipe to it ----

    def pauseProducing(self) -> None:  # noqa: N802
        self._full = True
        self._stop_reading()

    def resumeProducing(self) -> None:  # noqa: N802
        self._full = False
        self._read()

    def stopProducing(self) -> None:  # noqa: N802
        self._full = True
        self._stop_reading()

    # ---- the extension's events, as the reactor tells of them ----

    def fileno(self) -> int:
        return self._guest.extension.fd if self._guest is not None else -1

    def logPrefix(self) -> str:  # noqa: N802
        return "speedpay"

    def doRead(self) -> None:  # noqa: N802
        """A batch at most every few ms: what comes in between merges."""
        self._stop_reading()
        self._later("drain", BATCH_S, self._read)
        if self._guest is None:
            return
        try:
            happened = self._guest.drain()
        except NativeUnavailable as error:
            self._fail(str(error))
            self._kill()
            return
        if happened:
            wire.tally(self._sent, happened)
            self._say(wire.Happened(happened))

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self._reading = False

    def _read(self) -> None:
        if self._guest is not None and not self._reading and not self._full:
            self._reading = True
            self._reactor.addReader(self)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    # ---- what the payer says ----

    def _heard(self, message: Any) -> None:
        guest = self._guest
        if guest is None:
            return
        match message:
            case wire.Send(connection, payload):
                guest.extension.send(connection, payload)
            case wire.Weigh(connection, weight):
                guest.extension.set_weight(connection, weight)
            case wire.Withhold(connection, on):
                guest.extension.withhold(connection, on)
            case wire.Serve(connection, on):
                guest.extension.serve(connection, on)
            case wire.Competing(on):
                self._competing = on
            case wire.Allow(connection, more, heard):
                # The extension counts from what was drained; of some of that the payer had not heard.
                if more is not None:
                    more = max(0, more - (self._sent.get(connection, 0) - heard))
                guest.extension.allow(connection, more)
            case wire.Ban(connection):
                guest.extension.ban(connection)
            case wire.Noted(text):
                _log.info("%s", text)
                self.notes = [*self.notes, text][-_LOG_LINES:]
            case wire.Answer(number, result, refused):
                answer = self._asked.pop(number, None)
                if answer is not None and refused:
                    answer.errback(InvalidSetting(refused))
                elif answer is not None:
                    answer.callback(result)
            case wire.Told(wire.Saying.RUNNING):
                if self._turn(Event.RUNS):
                    self._read()
                    self._look()
                    self._govern()
            case wire.Told(wire.Saying.FAILED, why):
                self._fail(why)

    def ask(self, name: str) -> Any:
        """A Deferred of the payer's answer."""
        answer = self._twisted.deferred()
        if self.state is not State.RUNNING:
            said = f"speedpay is {self.state.value}{': ' if self.why else ''}{self.why}"
            answer.errback(InvalidSetting(said))
            return answer
        self._questions += 1
        self._asked[self._questions] = answer
        self._say(wire.Question(self._questions, name))
        return answer

    @property
    def changed(self) -> dict[str, Any]:
        """libtorrent's settings that are ours now."""
        return self._guest.changed if self._guest is not None else {}

    def _say(self, message: NamedTuple) -> None:
        if self._process is not None:
            self._process.writeToChild(0, wire.packed(message))

    # ---- the session now and then ----

    def _govern(self) -> None:
        if self._guest is not None:
            self._later("govern", SAMPLE_S, self._govern)
            self._guest.govern(self._competing, time.monotonic())

    def _look(self) -> None:
        """Tell the payer of the session's limits and of the torrents that it pays for."""
        guest = self._guest
        if guest is None:
            return
        wanted = self._wanted()
        for infohash in self._followed.keys() - wanted.keys():
            self._say(wire.Seen(infohash, None, None))
            self._described.discard(infohash)
        self._followed = dict(wanted)

        def looked(found: dict[bytes, Sight | None]) -> None:
            if self._guest is guest:
                self._later("look", LOOK_S, self._look)
                uplink = wire.Uplink(guest.uplink(), guest.free_slots)
                if uplink != self._told_uplink:
                    self._told_uplink = uplink
                    self._say(uplink)
                for infohash, sight in found.items():
                    if infohash in self._followed:
                        self._saw(infohash, sight)

        looking = self._twisted.to_thread(_sights, guest, wanted)
        looking.addCallbacks(looked, lambda failure: self._fail(failure.getErrorMessage()))

    def _saw(self, infohash: bytes, sight: Sight | None) -> None:
        if sight is not None and sight.description is not None:
            if infohash in self._described:
                sight = replace(sight, description=None)
            self._described.add(infohash)
        self._say(wire.Seen(infohash, self._followed[infohash].options, sight))

    # ---- timers ----

    def _later(self, name: str, seconds: float, call: Callable[[], Any]) -> None:
        self._cancel(name)
        self._calls[name] = self._reactor.callLater(seconds, call)

    def _cancel(self, name: str) -> None:
        call = self._calls.pop(name, None)
        if call is not None and call.active():
            call.cancel()


def _guest(session: Any) -> Guest | NativeUnavailable:
    try:
        return Guest(session)
    except NativeUnavailable as error:
        return error


def _sights(guest: Guest, wanted: Mapping[bytes, Wanted]) -> dict[bytes, Sight | None]:
    guest.look_again()
    found: dict[bytes, Sight | None] = {}
    for infohash, one in wanted.items():
        try:
            found[infohash] = guest.sight(infohash, one.handle)
        except Malformed as error:
            _log.warning("%s is not paid for: %s", infohash.hex(), error)
        except SpeedpayError as error:
            _log.info("%s: %s", infohash.hex(), error)
    return found
