"""The C++ targets: what a peer's bytes reach, under libFuzzer with the address and undefined sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.native.building import Edit, compiled

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
#: Longest input in bytes, and seconds for one: each takes milliseconds, and a loop without end is a bug.
MAX_LEN, TIMEOUT_S = 2000, 25


class Target(NamedTuple):
    """``planted``: a bug that the kept corpus must show by itself."""

    planted: Edit
    libraries: str = ""


TARGETS = {
    "peer": Target(
        # The walk over a reject's blocks as it once was: a length near 2^31 sent it round for ever.
        Edit("peer.hpp", "m_asked.take_all(blocks);",
             "for (int at = 0; at < blocks.length; at += block_bytes) "
             "m_asked.take(Block{blocks.piece, blocks.start + at});"),
    ),
    "core": Target(
        # A block that came after a message would join one that stands before it: another price.
        Edit("core.hpp", "connection->received.clear();", ""),
    ),
    "handshake": Target(
        Edit("peer.hpp", "message_id > 255", "message_id > 65535"), "libtorrent-rasterbar"
    ),
}  # fmt: skip


class Outcome(NamedTuple):
    executions: int
    broken: str  # empty: nothing was found


def build(name: str, folder: Path, level: str = "-O0", planted: bool = False) -> Path:
    """The target as a programme. At -O0 it compiles in half the time, and runs a third as fast."""
    target = TARGETS[name]
    flags = [level, "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    if target.libraries:
        words = ["pkg-config", "--cflags", "--libs", target.libraries]
        flags += subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    source = HERE / "native" / f"{name}.cpp"
    return compiled("clang++", source, folder, flags, target.planted if planted else None)


def run(
    name: str, program: Path, folder: Path, *, runs: int = -1, seconds: int = 0, seed: int = 1,
    timeout_s: int = TIMEOUT_S,
) -> Outcome:  # fmt: skip
    """The whole corpus, then new inputs until there were ``runs``, or for ``seconds``.

    What is new goes to ``folder``, as does an input that breaks something.
    """
    found = folder / f"found-{name}"
    found.mkdir(exist_ok=True)
    # -rss_limit_mb: the sanitizer keeps what was freed for a while.
    command = [program, f"-runs={runs}", f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MAX_LEN}",
               f"-timeout={timeout_s}", "-rss_limit_mb=4096", "-print_final_stats=1",
               f"-artifact_prefix={folder}/broken-{name}-", found, CORPUS / name]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    count = re.search(r"stat::number_of_executed_units: (\d+)", said.stderr)
    return Outcome(int(count[1]) if count else 0, said.stderr[-3000:] if said.returncode else "")


def is_possible() -> str:
    """Why not, where it is not: empty where clang with its fuzzer is installed, as ./scripts/setup does."""
    if shutil.which("clang++") is None:
        return "no clang++"
    probe = subprocess.run(["clang++", "-print-file-name=libclang_rt.fuzzer-x86_64.a"], capture_output=True,
                           text=True, check=False)  # fmt: skip
    runtime = subprocess.run(
        ["clang++", "-print-runtime-dir"], capture_output=True, text=True, check=False
    )
    places = [
        Path(probe.stdout.strip()),
        *Path(runtime.stdout.strip()).glob("libclang_rt.fuzzer*.a"),
    ]
    return "" if any(place.exists() for place in places) else "no fuzzer in clang's runtime"
