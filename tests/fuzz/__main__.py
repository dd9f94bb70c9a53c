"""``./scripts/fuzz``: each target for a while, and what was found."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz import native_targets
from tests.fuzz.native_targets import CORPUS, TIMEOUT_S, Outcome
from tests.fuzz.python_names import PYTHON_TARGETS

ROOT = CORPUS.parents[2]
FOLDER = ROOT / "build/fuzz"
#: Longest input of a Python target, bytes.
MAX_LEN = 4096


def atheris(name: str, folder: Path, *options: str) -> Outcome:
    """``options``: of libFuzzer, then folders, the first of which takes what is new."""
    command = [sys.executable, "-m", "tests.fuzz.with_atheris", name, f"-timeout={TIMEOUT_S}",
               f"-max_len={MAX_LEN}", f"-artifact_prefix={folder}/broken-{name}-",
               "-rss_limit_mb=4096", *options]  # fmt: skip
    said = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, cwd=ROOT
    )
    text = said.stdout + said.stderr
    count = re.findall(r"^(?:Done (\d+) runs|#(\d+)\t)", text, re.MULTILINE)
    executions = max((int(done or so_far) for done, so_far in count), default=0)
    return Outcome(executions, text[-3000:] if said.returncode else "")


class Fuzzed(NamedTuple):
    outcome: Outcome
    found: Path  # a folder with what reached new code


def fuzz(name: str, seconds: int) -> Fuzzed:
    found = FOLDER / f"found-{name}"
    found.mkdir(parents=True, exist_ok=True)
    if name in native_targets.TARGETS:
        program = native_targets.build(name, FOLDER, "-O1")
        return Fuzzed(native_targets.run(name, program, FOLDER, seconds=seconds, seed=0), found)
    options = (f"-max_total_time={seconds}", str(found), str(CORPUS / name))
    return Fuzzed(atheris(name, FOLDER, *options), found)


def keep(name: str, found: Path) -> None:
    """Of the corpus and of what was found the smallest inputs that reach the same code."""
    merged = FOLDER / f"merged-{name}"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    if name in native_targets.TARGETS:
        options = ["-merge=1", "-use_counters=0", merged, CORPUS / name, found]
        subprocess.run([FOLDER / name, *options], check=True, capture_output=True)
    else:
        for path in covering(name, [CORPUS / name, found]):
            shutil.copy(path, merged)
    kept = {path.read_bytes() for path in (CORPUS / name).iterdir()}
    for path in merged.iterdir():
        if path.read_bytes() not in kept:
            shutil.copy(path, CORPUS / name)


def covering(name: str, folders: list[Path]) -> list[Path]:
    """The smallest inputs first, each only if it goes from some line of ours to some other as none before."""
    from tests.fuzz.python_targets import TARGETS

    reached: set[tuple[int, int, int]] = set()
    chosen = []
    paths = [path for folder in folders for path in folder.iterdir()]
    for path in sorted(paths, key=lambda path: (path.stat().st_size, path.name)):
        before = len(reached)
        with steps_into(reached):
            TARGETS[name](path.read_bytes())
        if len(reached) > before:
            chosen.append(path)
    return chosen


@contextmanager
def steps_into(reached: set[tuple[int, int, int]]) -> Iterator[None]:
    """Notes (code, line, next line) of everything in speedpay that runs meanwhile."""

    def trace(frame: Any, event: str, _: Any) -> Any:
        if "/speedpay/" not in frame.f_code.co_filename:
            return None
        code, last = id(frame.f_code), 0

        def line(frame: Any, event: str, _: Any) -> Any:
            nonlocal last
            reached.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def main(words: list[str]) -> int:
    every = [*native_targets.TARGETS, *PYTHON_TARGETS]
    if "--list" in words:
        print("\n".join(every))
        return 0
    names = [word for word in words if not word.startswith("-")]
    seconds = names[1] if len(names) > 1 else "60"
    if len(names) > 2 or (names and names[0] not in every) or not seconds.isdigit():
        print(
            f"usage: ./scripts/fuzz [TARGET [SECONDS]]; targets: {', '.join(every)}",
            file=sys.stderr,
        )
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    total, broken = 0, []
    for name in names[:1] or every:
        outcome, found = fuzz(name, int(seconds))
        total += outcome.executions
        print(f"fuzz: {name}: {outcome.executions} executions, {'BROKEN' if outcome.broken else '0 broken'}",
              flush=True)  # fmt: skip
        if outcome.broken:
            broken.append(name)
            print(outcome.broken)
        elif "--keep" in words:
            keep(name, found)
    kept = sum(1 for path in CORPUS.rglob("*") if path.is_file())
    print(
        f"fuzz: {len(names[:1] or every)} targets, {total} executions, {len(broken)} broken; "
        f"{kept} inputs kept"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
