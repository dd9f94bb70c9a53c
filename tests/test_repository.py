"""The repository itself: its top level, its texts, its scripts, its lock, and which libtorrent loads."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import libtorrent
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

TOP_LEVEL = {"LICENSE", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
TOP_LEVEL |= {"speedpay", "tests", "contracts", "scripts", ".ci", ".gitignore", ".editorconfig"}

# Put together here, or this file would be the first to name them.
MACHINE_PATHS = "|".join(("/wo" + r"rk/[a-z.]", "/fa" + "rm/", "/ro" + "ot/", r"\.\./sha" + "red"))
REGISTRY_HOSTS = "|".join(
    (
        "py" + r"pi\.org",
        "python" + r"hosted\.org",
        r"registry\.n" + r"pmjs\.org",
        r"(deb|security)\.deb" + r"ian\.org",
    )
)
UNFINISHED = r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b"


def tracked_files() -> list[str]:
    """What git tracks; in a copy without git, every file that .gitignore does not leave out."""
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(git, capture_output=True, check=True, text=True).stdout.split("\0")
        return sorted(path for path in listed if path and (ROOT / path).is_file())
    ignored = {".git"} | {
        line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()
    }
    files: list[str] = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in ignored]
        files += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in names]
    return sorted(path for path in files if not path.endswith((".so", ".pyc")))


def places(pattern: str, files: list[str]) -> list[str]:
    """``path:line: text`` of every line that matches, in files that are text."""
    found = []
    for path in files:
        try:
            lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path}:{n}: {s.strip()[:120]}"
            for n, s in enumerate(lines, 1)
            if re.search(pattern, s)
        ]
    return found


def test_the_top_level_holds_nothing_else() -> None:
    top_level = {path.split("/")[0] for path in tracked_files()}
    assert not top_level - TOP_LEVEL


@pytest.mark.parametrize(
    "pattern",
    [MACHINE_PATHS, REGISTRY_HOSTS, UNFINISHED],
    ids=["machine's path", "registry's host", "unfinished work"],
)
def test_no_file_names_a_machine_a_registry_or_unfinished_work(pattern: str) -> None:
    assert places(pattern, tracked_files()) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (MACHINE_PATHS, "/ro" + "ot/x"),
        (MACHINE_PATHS, "/wo" + "rk/main"),
        (REGISTRY_HOSTS, "https://files.python" + "hosted.org/a"),
        (REGISTRY_HOSTS, "--index-url https://py" + "pi.org/simple"),
        (UNFINISHED, "# TO" + "DO: later"),
    ],
)
def test_the_patterns_catch_what_they_are_for(pattern: str, line: str) -> None:
    assert re.search(pattern, line)


def scripts() -> list[str]:
    return [path for path in tracked_files() if re.fullmatch(r"scripts/[^/.]+|\.ci/run", path)]


@pytest.mark.parametrize("script", scripts())
def test_a_script_is_executable_and_says_what_it_does(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK), "no run bit"
    assert path.read_bytes().startswith(b"#!")
    for flag in ("--help", "-h"):
        answer = subprocess.run(
            [path, flag], capture_output=True, text=True, timeout=60, check=False
        )
        assert answer.returncode == 0, answer.stderr
        assert script in answer.stdout or path.name in answer.stdout
        assert len(answer.stdout.splitlines()) >= 3


def test_there_are_the_commands_that_everything_names() -> None:
    assert {"scripts/setup", "scripts/test", "scripts/lock", ".ci/run"} <= set(scripts())
    assert "./scripts/test" in (ROOT / ".ci/run").read_text()


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "./scripts/demo" in readme
    assert "./scripts/test" in readme


@pytest.mark.parametrize(
    "path", [p for p in tracked_files() if re.fullmatch(r"speedpay/.*__init__\.py", p)]
)
def test_a_package_says_what_it_is_for(path: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / path).read_text())), "no docstring"


# ---------------------------------------------------------------------------------------- the lock


def locked(name: str) -> dict[str, str]:
    """Package to version; fails on anything in the file but pinned packages with their hashes."""
    text = (ROOT / "scripts/requirements" / name).read_text().replace("\\\n", "")
    found = {}
    for line in filter(None, text.splitlines()):
        pin = re.match(r"([a-z0-9-]+)==(\S+)( ; [^-]+?)?(\s+--hash=sha256:[0-9a-f]{64})+$", line)
        assert pin, f"{name} holds more than pinned, hashed packages: {line[:80]}"
        found[pin[1]] = pin[2]
    return found


def test_the_lock_is_made_of_pinned_hashed_packages_each_named_once() -> None:
    run, dev = locked("run.txt"), locked("dev.txt")
    assert len(run) > 20
    assert not run.keys() & dev.keys()
    assert "libtorrent" not in run | dev, "libtorrent comes from the distribution"


def test_the_lock_satisfies_pyproject() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        "run.txt": settings["project"]["dependencies"],
        "dev.txt": settings["dependency-groups"]["dev"] + settings["build-system"]["requires"],
    }
    for name, requirements in wanted.items():
        versions = locked("run.txt") | locked(name)
        for requirement in map(Requirement, requirements):
            if requirement.name != "libtorrent":
                version = versions.get(canonicalize_name(requirement.name))
                assert version, f"{requirement.name} is not in {name}: run ./scripts/lock"
                assert requirement.specifier.contains(version), f"{requirement}: run ./scripts/lock"


# --------------------------------------------------------------------------------- which libtorrent


def test_the_distributions_libtorrent_loads_through_a_link_in_the_venv() -> None:
    loaded = Path(libtorrent.__file__)
    assert loaded.is_relative_to(ROOT / ".venv"), "not run with ./.venv/bin/python"
    assert loaded.is_symlink()
    assert loaded.resolve().is_relative_to("/usr/lib")
    assert libtorrent.__version__ in SpecifierSet(">=2.0.8,<2.1")
