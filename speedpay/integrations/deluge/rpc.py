"""A deluged's RPC, by the client library that was installed with it.

That library belongs to the system's Python, so each ``Daemon`` is a process of it that reads calls and writes
answers, a line of JSON each.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from speedpay.errors import InvalidSetting, NotFound

SYSTEM_PYTHON = "/usr/bin/python3"
#: Enough for deluged to settle with the ledger before it restarts the payer.
_WAIT_S = 60

_HELPER = r"""
import json, sys, threading
config, wait_s = sys.argv[1], float(sys.argv[2])
try:
    from deluge.i18n import setup_mock_translation
    setup_mock_translation()
    import deluge.configmanager
    from deluge.ui.client import client
except ImportError as error:
    print(json.dumps({"error": f"Deluge's own library is not here: {error}"}), flush=True)
    sys.exit(1)
from twisted.internet import reactor, threads

def say(**answer):
    print(json.dumps(answer, default=lambda value: value.decode("utf-8", "replace")), flush=True)

def listen(_):
    threads.deferToThread(sys.stdin.readline).addCallback(heard)

def heard(line):
    if not line:
        return reactor.stop()
    method, arguments = json.loads(line)
    prefix, _, name = method.partition(".")
    called = getattr(getattr(client, prefix), name)(*arguments)
    called.addTimeout(wait_s, reactor)
    called.addCallbacks(lambda result: say(result=result), failed)
    called.addBoth(listen)

def failed(failure):
    say(error=str(getattr(failure.value, "message", None) or failure.getErrorMessage()))

def unconnected(failure):
    say(error=f"deluged does not answer: {failure.getErrorMessage()}")
    reactor.stop()

def connected(_):
    say(result="connected")
    listen(None)

def begin():
    with open(f"{config}/auth") as file:
        words = next(line.split(":") for line in file if line.startswith("localclient:"))
    with open(f"{config}/deluged.pid") as file:
        port = int(file.readline().split(";")[1])
    host = sys.argv[3]
    client.connect(host, port, words[0], words[1].strip()).addCallbacks(connected, unconnected)

try:
    reactor.callWhenRunning(begin)
    deluge.configmanager.set_config_dir(config)
    reactor.run()
except OSError as error:
    say(error=f"{error}")
"""


class Daemon:
    """The deluged whose folder is ``config``. A context manager. Raises NotFound where it does not run."""

    def __init__(self, config: Path, host: str = "127.0.0.1") -> None:
        if not (config / "deluged.pid").is_file() or not (config / "auth").is_file():
            raise NotFound(
                f"no deluged runs with {config}", field="config",
                hint="start it, or name its folder: --config DIR",
            )  # fmt: skip
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, "-I", "-c", _HELPER, str(config), str(_WAIT_S), host],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """Raises InvalidSetting with what deluged says against it, NotFound where the plugin is missing."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NotFound("deluged is gone", field="config")
        answer = json.loads(line)
        if "invalid function: speedpay." in answer.get("error", ""):
            raise NotFound("the plugin is not enabled there", hint="speedpay deluge enable")
        if "error" in answer:
            raise InvalidSetting(answer["error"], field="deluged")
        return answer["result"]
