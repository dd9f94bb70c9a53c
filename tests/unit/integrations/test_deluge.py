"""The plugin's settings, its frames, and its life beside a process that starts, fails and dies."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from speedpay import __version__
from speedpay.errors import InvalidSetting, NativeUnavailable, NotFound
from speedpay.integrations.deluge import egg, host, wire
from speedpay.integrations.deluge.host import Host, Twisted, Wanted
from speedpay.integrations.deluge.life import State
from speedpay.integrations.deluge.options import DEFAULTS, checked, parsed
from speedpay.integrations.deluge.plugin import Torrents
from speedpay.swarm.events import BlocksSent, PeerGone
from speedpay.units import Amount, Price

# --- settings ------------------------------------------------------------------------------------


def test_the_defaults_are_valid_and_pay_nothing() -> None:
    assert checked(DEFAULTS) == DEFAULTS
    assert parsed({})["pay"] == "off"


def test_settings_are_what_their_texts_say() -> None:
    found = parsed(checked({"pay": "0.8", "max_spend": "1.5", "max_price": 2, "ask": "0.25"}))
    assert found["pay"] == Price.from_tokens_per_gib("0.8")
    assert found["max_spend"] == Amount.from_tokens("1.5")
    assert found["max_price"] == Price.from_tokens_per_gib("2")
    assert found["ask"] == Price.from_tokens_per_gib("0.25")


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"pay": "yes"}, "pay", "auto, off, or"),
        ({"pay": "0"}, "pay", "too small"),
        ({"pay": 0.5}, "pay", "text or a whole number"),
        ({"pay": True}, "pay", "text or a whole number"),
        ({"consumption": "1.5"}, "consumption", "1"),
        ({"max_spend": "-1"}, "max_spend", "must"),
        ({"max_price": "lots"}, "max_price", "must"),
        ({"ask": "none"}, "ask", "must"),
        ({"ledger_url": "ftp://x"}, "ledger_url", "http"),
        ({"home": "relative"}, "home", "absolute"),
        ({"home": "/" + "x" * 5000}, "home", "too long"),
        ({"pya": "off"}, "pya", "not a setting"),
        ({7: "off"}, "7", "not a setting"),
        ("pay", "config", "names and values"),
        (None, "config", "names and values"),
    ],
)
def test_a_wrong_setting_is_refused_naming_its_field(given: Any, field: str, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said) as refused:
        checked(given)
    assert refused.value.field == field


def test_a_torrent_has_no_wallet_of_its_own() -> None:
    with pytest.raises(InvalidSetting, match="not a torrent's setting"):
        checked({"home": "/tmp"}, each=True)
    assert checked({"pay": "auto"}, each=True) == {"pay": "auto"}


def _torrent(state: str, infohash: bytes) -> Any:
    sha1 = SimpleNamespace(to_bytes=lambda: infohash)
    hashes = SimpleNamespace(has_v1=lambda: True, v1=sha1)
    return SimpleNamespace(state=state, handle=SimpleNamespace(info_hashes=lambda: hashes))


def test_only_torrents_that_are_to_be_paid_for_and_not_complete_are_followed() -> None:
    config: dict[str, Any] = {"options": dict(DEFAULTS), "torrents": {}}
    here = {name: _torrent(state, name.encode()) for name, state in
            (("a", "Downloading"), ("b", "Seeding"), ("c", "Queued"))}  # fmt: skip
    torrents = Torrents(config, lambda: here)
    assert torrents.wanted() == {}
    config["options"]["pay"] = "auto"
    config["torrents"]["c"] = {"pay": "off"}
    assert list(torrents.wanted()) == [b"a"]
    here["a"].state = "Seeding"
    assert list(torrents.wanted()) == [b"a"], "what was begun is settled"
    config["torrents"]["a"] = {"max_spend": "1"}
    assert torrents.wanted()[b"a"].options["max_spend"] == "1"
    config["torrents"]["b"] = {"ask": "2"}
    config["torrents"]["gone"] = {"ask": "3"}
    assert torrents.asks() == {b"b": "2"}, "also what is complete is sold"
    del here["a"]
    assert torrents.wanted() == {}


# --- frames --------------------------------------------------------------------------------------


def test_messages_come_whole_however_their_bytes_are_cut() -> None:
    sent = [wire.Send(1, bytes(300)), wire.Stop(), wire.Happened([PeerGone(3, "closed")])]
    data, unpacker = b"".join(map(wire.packed, sent)), wire.Unpacker()
    found = [
        message for at in range(0, len(data), 7) for message in unpacker.feed(data[at : at + 7])
    ]
    assert found == sent
    assert list(unpacker.feed(b"")) == []


# --- the process beside deluged ------------------------------------------------------------------


class Call:
    def __init__(self, what: Any) -> None:
        self.what, self.live = what, True

    def active(self) -> bool:
        return self.live

    def cancel(self) -> None:
        self.live = False


class Deferred:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def callback(self, value: Any) -> None:
        self.said.append(value)

    def errback(self, value: Any) -> None:
        self.said.append(value)

    def addCallbacks(self, done: Any, failed: Any) -> None:  # noqa: N802
        done(self.said[-1])


def _now(call: Any, *arguments: Any) -> Deferred:
    deferred = Deferred()
    deferred.callback(call(*arguments))
    return deferred


class Reactor:
    """Starts no process, and lets time pass only where a test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Call]] = []
        self.unpacker = wire.Unpacker()
        self.said: list[Any] = []
        self.started = 0
        self.reading = False
        self.signals: list[str] = []
        self.pipes = {0: SimpleNamespace(registerProducer=lambda one, streaming: None)}

    def spawnProcess(self, *arguments: Any, **named: Any) -> Reactor:  # noqa: N802
        self.started += 1
        self.said.clear()
        return self

    def writeToChild(self, descriptor: int, data: bytes) -> None:  # noqa: N802
        assert descriptor == 0
        self.said += self.unpacker.feed(data)

    def signalProcess(self, name: str) -> None:  # noqa: N802
        self.signals.append(name)

    def callLater(self, seconds: float, what: Any) -> Call:  # noqa: N802
        call = Call(what)
        self.calls.append((seconds, call))
        return call

    def addReader(self, one: Any) -> None:  # noqa: N802
        self.reading = True

    def removeReader(self, one: Any) -> None:  # noqa: N802
        self.reading = False

    def pass_time(self, seconds: float) -> None:
        due = [call for after, call in self.calls if call.live and after == seconds]
        assert due, f"nothing waits for {seconds} s"
        for call in due:
            call.live = False
            call.what()


class FakeGuest:
    """Of ``Guest`` what the host calls; ``refuses`` is what its making raises."""

    refuses: NativeUnavailable | None = None
    made: FakeGuest

    def __init__(self, session: Any) -> None:
        if self.refuses:
            raise self.refuses
        FakeGuest.made = self
        self.log: list[str] = []
        self.free_slots, self.changed = 4, {"tick_interval": 10}
        self.extension = SimpleNamespace(fd=7, send=lambda c, p: self.log.append(f"send {c}"))

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.log.append(name) or None


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def running(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(host, "Guest", FakeGuest)
    made = Host(
        Twisted(reactor, Deferred, _now), None, ["payer"], dict[bytes, Wanted], dict[bytes, str]
    )
    made.start({"pay": "auto"})
    assert (made.state, reactor.reading) == (State.STARTING, False)
    assert reactor.said == [wire.Start(__version__, {"pay": "auto"}, {}, None, 4)]
    _says(made, wire.Told(wire.Saying.RUNNING))
    assert (made.state, reactor.reading) == (State.RUNNING, True)
    return made


def _says(made: Host, message: Any) -> None:
    made.childDataReceived(wire.SPEAKS, wire.packed(message))


def _ends(made: Host) -> None:
    made.processEnded(SimpleNamespace(getErrorMessage=lambda: "killed"))


def test_to_stop_gives_the_settings_back_at_once_and_waits_for_the_process(
    running: Host, reactor: Reactor
) -> None:
    done = running.stop()
    assert (running.state, done.said) == (State.LEAVING, [])
    assert "give_back" in FakeGuest.made.log
    assert reactor.said[-1] == wire.Stop()
    _says(running, wire.Send(5, b"last voucher"))
    assert "send 5" in FakeGuest.made.log, "what is owed is still paid"
    again = running.stop()
    _ends(running)
    assert (running.state, len(done.said), len(again.said)) == (State.OFF, 1, 1)
    assert FakeGuest.made.log[-1] == "close"


def test_a_process_that_does_not_end_is_killed(running: Host, reactor: Reactor) -> None:
    running.stop()
    reactor.pass_time(host.LEAVE_S)
    assert reactor.signals == ["KILL"]


def test_a_process_that_dies_leaves_an_ordinary_deluged_and_is_started_again(
    running: Host, reactor: Reactor
) -> None:
    question = running.ask("status")
    _ends(running)
    assert (running.state, running.why) == (State.FAILED, "its process ended: killed")
    assert FakeGuest.made.log[-1] == "close"
    assert not reactor.reading
    assert len(question.said) == 1, "who asked is told"
    reactor.pass_time(host.RESTART_S)
    assert (running.state, reactor.started) == (State.STARTING, 2)
    _ends(running)
    reactor.pass_time(2 * host.RESTART_S)
    assert reactor.started == 3, "less often each time"


def test_who_is_told_to_leave_before_the_extension_is_in_the_session_takes_it_out_again(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "Guest", FakeGuest)
    waiting: list[Any] = []

    def later(call: Any, *arguments: Any) -> Any:
        return SimpleNamespace(
            addCallbacks=lambda done, failed: waiting.append(lambda: done(call(*arguments)))
        )

    made = Host(
        Twisted(reactor, Deferred, later), None, ["payer"], dict[bytes, Wanted], dict[bytes, str]
    )
    made.start({})
    assert made.stop().said == [None]
    made.start({})
    waiting[0]()
    assert (FakeGuest.made.log, reactor.started) == (["close"], 0)
    waiting[1]()
    assert (made.state, reactor.started) == (State.STARTING, 1)


def test_what_a_wallet_refuses_is_shown_and_not_tried_again(
    running: Host, reactor: Reactor
) -> None:
    running.stop()
    _ends(running)
    running.start({})
    _says(running, wire.Told(wire.Saying.FAILED, "there is no passphrase"))
    _ends(running)
    assert (running.state, running.why) == (State.FAILED, "there is no passphrase")
    assert not any(call.live for after, call in reactor.calls if after == host.RESTART_S)
    assert running.stop().said == [None]
    assert running.state is State.OFF


def test_to_start_again_before_a_failed_process_has_ended_waits_for_its_end(
    running: Host, reactor: Reactor
) -> None:
    _says(running, wire.Told(wire.Saying.FAILED, "why"))
    done = running.stop()
    assert (running.state, done.said) == (State.LEAVING, [])
    running.start({})
    assert reactor.started == 1
    _ends(running)
    assert (running.state, done.said) == (State.OFF, [None])


def test_a_full_pipe_leaves_events_where_they_are_bounded(running: Host, reactor: Reactor) -> None:
    running.pauseProducing()
    assert not reactor.reading
    running.doRead()
    reactor.pass_time(host.BATCH_S)
    assert not reactor.reading
    running.resumeProducing()
    assert reactor.reading


def test_what_the_payer_has_not_heard_of_yet_counts_as_allowed(running: Host) -> None:
    allowed: list[Any] = []
    guest = FakeGuest.made
    guest.extension.allow = lambda connection, more: allowed.append(more)
    guest.drain = lambda: [BlocksSent(1, 3000, 0, 0), BlocksSent(2, 50, 0, 0)]  # type: ignore[attr-defined]
    running.doRead()
    for message in (
        wire.Allow(1, 5000, 1000), wire.Allow(1, 5000, 3000), wire.Allow(1, 1000, 0),
        wire.Allow(1, None, 0), wire.Allow(2, 100, 50),
    ):  # fmt: skip
        _says(running, message)
    assert allowed == [3000, 5000, 0, None, 100]


def test_without_the_extension_deluged_stays_as_it_is(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeGuest, "refuses", NativeUnavailable("no libtorrent", hint=None))
    monkeypatch.setattr(host, "Guest", FakeGuest)
    made = Host(
        Twisted(reactor, Deferred, _now), None, ["payer"], dict[bytes, Wanted], dict[bytes, str]
    )
    made.start({})
    assert (made.state, made.why, reactor.started) == (State.FAILED, "no libtorrent", 0)
    assert made.changed == {}


# --- the file that deluged loads -----------------------------------------------------------------


def test_an_egg_is_installed_in_place_of_older_ones_and_removed(tmp_path: Path) -> None:
    old = tmp_path / "plugins" / "Speedpay-0.0.1.egg"
    old.parent.mkdir()
    old.write_bytes(b"")
    path = egg.install(tmp_path)
    assert list(old.parent.iterdir()) == [path]
    with zipfile.ZipFile(BytesIO(path.read_bytes())) as archive:
        entry = archive.read("deluge_speedpay/__init__.py").decode()
    compile(entry, "entry", "exec")
    assert egg.uninstall(tmp_path) == [path]
    assert egg.uninstall(tmp_path) == []


def test_a_folder_that_is_not_deluges_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not a folder"):
        egg.install(tmp_path / "none")
