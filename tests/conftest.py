"""What holds for every test: no user's files, no deadline on a busy machine, no empty success."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.independent import disagreement

# A slow machine is no bug of the property: pytest-timeout catches what hangs.
settings.register_profile("speedpay", deadline=None, print_blob=True)
settings.load_profile("speedpay")

# A run in the background of a shell ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _a_user_without_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Points every place where speedpay keeps files at an empty folder: tests must never find, and
    never write to, the wallet of whoever runs them."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SPEEDPAY_")]:
            patch.delenv(name)
        for name in ("CONFIG", "DATA", "STATE", "CACHE", "RUNTIME"):
            place = folder / name.lower()
            place.mkdir(mode=0o700)
            patch.setenv(f"XDG_{name}_HOME" if name != "RUNTIME" else "XDG_RUNTIME_DIR", str(place))
        yield


@pytest.fixture(autouse=True)
def _a_second_opinion_on_every_ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever ledger a test leaves in its folder, ``scripts/verify_independent`` makes its last closed
    epoch again from the transfers alone: two implementations that share no code must agree."""
    folder: Path | None = None
    if "tmp_path" in request.fixturenames:
        folder = request.getfixturevalue("tmp_path")
    yield
    for database in sorted(folder.rglob("ledger.sqlite")) if folder else []:
        assert disagreement(database) is None, database


#: Tests that wait for swarms and servers, in two halves of about the same length.
_WAITING = (("tests/scenarios/test_client_",), ("tests/scenarios/", "tests/integration/"))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n 3``: of the tests that wait, those of each half run one after the other, in one process; the
    others, which compute, run beside them in the third."""
    from xdist.scheduler import LoadScopeScheduling

    class WaitingOneAtATime(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            for number, half in enumerate(_WAITING):
                if nodeid.startswith(half):
                    return f"waiting {number}"
            return nodeid

    return WaitingOneAtATime(config, log)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """pytest calls a run in which every test was skipped a success; here it has tested nothing."""
    if exitstatus != pytest.ExitCode.OK or session.config.option.collectonly:
        return
    if hasattr(session.config, "workerinput"):
        return  # a process of several: the one that began them counts
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture
def closing_line(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """What a programme counted, shown under the results of the whole run."""
    return lambda line: record_property("closing line", line)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = [
        str(value)
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "closing line"
    ]
    for line in lines:
        terminalreporter.write_line(line)
