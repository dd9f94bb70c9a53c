"""Our command line as processes of their own: one that runs and talks, and one that answers and ends."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

SPEEDPAY = Path(__file__).resolve().parent.parent / ".venv/bin/speedpay"
_STOP_S = 20.0
_TICKS_A_S = os.sysconf("SC_CLK_TCK")


class Process:
    """One client or ledger; its JSON lines as they come. Ended by its own id, never by name."""

    def __init__(self, name: str, command: list[str], home: Path, log: Path) -> None:
        self.name = name
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.events: dict[str, dict[str, Any]] = {}
        self.at: dict[str, float] = {}
        self.progress: list[tuple[float, int]] = []
        self._log = log
        environment = os.environ | {
            "SPEEDPAY_HOME": str(home), "SPEEDPAY_PASSPHRASE_FILE": str(home / "passphrase"),
        }  # fmt: skip
        self._stderr = log.open("wb")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._stderr, env=environment, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            # A line without "event" is a command's result; a ledger's says where it listens.
            name, now = said.get("event", "result"), time.monotonic()
            if name == "progress" and said["total_bytes"]:
                self.progress.append((now, said["done_bytes"]))
                if said["done_bytes"] == said["total_bytes"]:
                    name = "complete"
            if name not in self.events:
                self.events[name], self.at[name] = said, now
            self.lines.put(said)
        self.lines.put(None)

    def until(self, event: str, deadline: float) -> dict[str, Any]:
        """The first event of that name; raises RuntimeError with the process's last words."""
        while event not in self.events:
            try:
                said = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise RuntimeError(
                    f"{self.name} has not said {event!r} in time: {self.words()}"
                ) from None
            if said is None and event not in self.events:
                raise RuntimeError(f"{self.name} ended before {event!r}: {self.words()}")
        return self.events[event]

    def cpu_s(self) -> float:
        """User and system time of all its threads so far; fails once it has ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_S

    def words(self) -> str:
        return self._log.read_text(errors="replace")[-800:]

    def ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        self.ask_to_stop()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(_STOP_S)  # its last words are its result
        self._stderr.close()


def attempt_command(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """One command of the user who lives in ``home``, whatever it exits with."""
    environment = os.environ | {
        "SPEEDPAY_HOME": str(home), "SPEEDPAY_PASSPHRASE_FILE": str(home / "passphrase"),
    }  # fmt: skip
    return subprocess.run(
        [str(SPEEDPAY), *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def run_command(arguments: list[str], home: Path) -> dict[str, Any]:
    """The result of one command; raises RuntimeError with its last words when it fails."""
    done = attempt_command(arguments, home)
    if done.returncode != 0:
        raise RuntimeError(f"speedpay {arguments[0]} failed: {done.stderr[-800:]}")
    return result_of(done)


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made
