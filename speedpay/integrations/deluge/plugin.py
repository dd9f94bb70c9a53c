"""The plugin as Deluge sees it: a component, its settings file and its RPC methods.

Deluge and Twisted are imported when the plugin is made, inside deluged: there is neither anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from speedpay.errors import NotFound, SpeedpayError
from speedpay.integrations.deluge.host import Host, Twisted, Wanted
from speedpay.integrations.deluge.life import State
from speedpay.integrations.deluge.options import DEFAULTS, OPTIONS, checked
from speedpay.swarm.guest import infohash_of

#: In deluged's folder; the RPC's prefix; the component's name.
CONFIG_FILE = "speedpay.conf"
PREFIX = "speedpay"
NAME = "CorePlugin.Speedpay"
#: A torrent in one of these states has nothing left to pay for.
_COMPLETE = ("Seeding",)
#: Of ``auth``: only whoever may change everything else in deluged may spend its user's money.
_LEVEL_READ, _LEVEL_ADMIN = 1, 10


class Torrents:
    """Which of deluged's torrents are to be paid for; those of which a payment began stay until they are
    complete in our eyes, whatever deluged calls them."""

    def __init__(
        self, config: Mapping[str, Any], torrents: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._config = config
        self._torrents = torrents
        self._infohashes: dict[str, bytes] = {}

    def options(self, torrent_id: str) -> dict[str, str]:
        """The common settings with this torrent's own over them."""
        return {**self._config["options"], **self._config["torrents"].get(torrent_id, {})}

    def asks(self) -> dict[bytes, str]:
        torrents = self._torrents()
        return {
            infohash_of(torrents[torrent_id].handle): own["ask"]
            for torrent_id, own in self._config["torrents"].items()
            if "ask" in own and torrent_id in torrents
        }

    def wanted(self) -> dict[bytes, Wanted]:
        torrents, found = self._torrents(), {}
        for gone in self._infohashes.keys() - torrents.keys():
            del self._infohashes[gone]
        for torrent_id, torrent in torrents.items():
            options = self.options(torrent_id)
            known = torrent_id in self._infohashes
            if options["pay"] == "off" or not (known or torrent.state not in _COMPLETE):
                self._infohashes.pop(torrent_id, None)
                continue
            if not known:
                self._infohashes[torrent_id] = infohash_of(torrent.handle)
            found[self._infohashes[torrent_id]] = Wanted(torrent.handle, options)
        return found


class Plugin:
    """What Deluge's plugin manager holds: ``plugin`` is the component."""

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin

    def enable(self) -> Any:
        return self.plugin.enable()

    def disable(self) -> Any:
        return self.plugin.disable()


def make(command: list[str]) -> Plugin:
    """Called by the egg's entry, inside deluged. ``command`` starts the payer."""
    from deluge import component
    from deluge.configmanager import ConfigManager
    from deluge.core.rpcserver import export
    from deluge.error import DelugeError
    from twisted.internet import defer, reactor, threads

    def convert(failure: Any) -> Any:
        failure.trap(SpeedpayError)
        raise DelugeError(str(failure.value))

    def rpc(level: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A method for Deluge's clients. Our errors become one that they know; it names the field."""

        def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
            def method(self: Any, *arguments: Any, **named: Any) -> Any:
                try:
                    result = call(self, *arguments, **named)
                except SpeedpayError as error:
                    said = f"{error} ({error.hint})" if error.hint else str(error)
                    raise DelugeError(said) from error
                return result.addErrback(convert) if isinstance(result, defer.Deferred) else result

            method.__name__, method.__doc__ = call.__name__, call.__doc__
            exported: Callable[..., Any] = export(level)(method)
            return exported

        return decorate

    class Speedpay(component.Component):  # type: ignore[misc]
        """Depends on Core, so that it is stopped before Core writes the session's settings down."""

        def __init__(self) -> None:
            super().__init__(NAME, depend=["Core"])
            self._config = ConfigManager(CONFIG_FILE, {"options": dict(DEFAULTS), "torrents": {}})
            for name, default in DEFAULTS.items():
                self._config["options"].setdefault(name, default)
            core, manager = component.get("Core"), component.get("TorrentManager")
            self._torrents = Torrents(self._config, lambda: manager.torrents)
            self._manager = manager
            self._host = Host(
                Twisted(reactor, defer.Deferred, threads.deferToThread), core.session, command,
                self._torrents.wanted, self._torrents.asks,
            )  # fmt: skip

        # ---- as a component ----

        def enable(self) -> Any:
            core = component.get("Core")
            component.get("RPCServer").register_object(self, PREFIX)
            self._host.start(self._config["options"])
            # Deluge starts a plugin's component only when it is enabled by hand.
            started = component.start([NAME])

            def listed(result: Any) -> Any:
                """Deluge writes its list of plugins down at its end only: after a kill we would be
                disabled. We are in that list once this returns."""
                reactor.callLater(0, core.config.save)
                return result

            return started.addCallback(listed)

        def disable(self) -> Any:
            # Not by Deluge's own function, which trips over the dictionary that it changes.
            methods = component.get("RPCServer").factory.methods
            for name in [name for name in methods if name.startswith(f"{PREFIX}.")]:
                del methods[name]
            return self._host.stop()

        def stop(self) -> None:
            """deluged ends: its settings are its own again when Core writes them down, right after this."""
            self._left = self._host.stop()

        def shutdown(self) -> Any:
            """deluged waits for the last vouchers."""
            return getattr(self, "_left", None)

        # ---- for its clients ----

        @rpc(_LEVEL_READ)
        def get_status(self) -> Any:
            """What the plugin is doing: ``state`` (off, starting, running, leaving, failed) and ``why``;
            ``changed``, the settings of libtorrent that are ours now; ``notes``, what it last said. While it
            runs also what was paid and earned since it began, and ``torrents``, by infohash."""
            host = self._host
            said = {
                "state": host.state.value, "why": host.why, "notes": list(host.notes),
                "changed": dict(host.changed),
            }  # fmt: skip
            if host.state is not State.RUNNING:
                return said
            return host.ask("status").addCallback(lambda more: {**said, **more})

        @rpc(_LEVEL_READ)
        def get_balance(self) -> Any:
            """The account as the ledger has it, in µtok."""
            return self._host.ask("balance")

        @rpc(_LEVEL_READ)
        def get_receipts(self) -> Any:
            """What was paid for each torrent, and what of it is proved by the ledger's signed answers."""
            return self._host.ask("receipts")

        @rpc(_LEVEL_READ)
        def get_config(self) -> Any:
            """All settings, as text."""
            return dict(self._config["options"])

        @rpc(_LEVEL_ADMIN)
        def set_config(self, config: Any) -> Any:
            """Names and texts of settings; the others stay. Refused as a whole, naming the field. Those of
            the wallet and ``ask`` take effect once what runs has settled."""
            given = checked(config)
            before = dict(self._config["options"])
            self._config["options"] = {**before, **given}
            self._config.save()
            changed = {name for name in given if given[name] != before[name]}
            if changed & {"home", "passphrase_file", "ledger_url", "ask"} or (
                self._host.state is State.FAILED
            ):
                return self.restart()
            return None

        @rpc(_LEVEL_ADMIN)
        def restart(self) -> Any:
            """Settle, and begin again; after a failure too."""
            return self._host.stop().addCallback(
                lambda _: self._host.start(self._config["options"])
            )

        @rpc(_LEVEL_READ)
        def get_torrent(self, torrent_id: Any) -> Any:
            """The settings by which this torrent is paid for, its own or the common ones."""
            options = self._torrents.options(self._known(torrent_id))
            return {name: options[name] for name, option in OPTIONS.items() if option.each}

        @rpc(_LEVEL_ADMIN)
        def set_torrent(self, torrent_id: Any, config: Any) -> Any:
            """Settings of one torrent's own: ask, pay, consumption, max_spend, max_price. An empty
            dictionary: the common ones again. They take effect at once, ``ask`` once what runs has settled;
            what was paid so far counts."""
            known, given = self._known(torrent_id), checked(config, each=True)
            asked = self._torrents.asks()
            own = {**self._config["torrents"]}
            if given:
                own[known] = {**own.get(known, {}), **given}
            else:
                own.pop(known, None)
            self._config["torrents"] = {
                name: value for name, value in own.items() if name in self._manager.torrents
            }
            self._config.save()
            return self.restart() if self._torrents.asks() != asked else None

        def _known(self, torrent_id: Any) -> str:
            if torrent_id not in self._manager.torrents:
                raise NotFound("deluged has no such torrent", field="torrent_id")
            return str(torrent_id)

    return Plugin(Speedpay())
