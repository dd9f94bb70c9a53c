"""The file that deluged loads: a few lines that say where speedpay is, in the form of a Deluge plugin.

speedpay itself stays where it is installed, so that an update of it needs no new file, only a restart of
deluged. Of its folder of libraries deluged sees nothing: only ``speedpay`` and its native module are found.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import speedpay
from speedpay import __version__
from speedpay.errors import InvalidSetting, NotFound
from speedpay.swarm.extension import load_native

#: As Deluge calls the plugin, and its file.
PLUGIN = "Speedpay"
_EGG = f"{PLUGIN}-{__version__}.egg"
_MODULE = "deluge_speedpay"

_ENTRY = '''"""speedpay for Deluge: where it is. Written by `speedpay deluge install`."""

import sys
from importlib.machinery import PathFinder

PACKAGE = {package!r}
NATIVE = {native!r}
COMMAND = {command!r}


class Finder:
    """Nothing else of speedpay's folders is found by deluged: it has its own libraries."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        where = {{"speedpay": PACKAGE, "speedpay.swarm._native": NATIVE}}.get(name)
        return PathFinder.find_spec(name, [where]) if where else None


def CorePlugin(name):
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
    from speedpay.integrations.deluge.plugin import make

    return make(COMMAND)
'''

_ABOUT = f"""Metadata-Version: 2.1
Name: {PLUGIN}
Version: {__version__}
Summary: Pay other peers for speed, and be paid for upload.
Author: The speedpay authors
License: Apache-2.0

Pays peers that speak speedpay for the torrents you choose, and sells your upload to those who pay.
Everybody else remains an ordinary peer. Settings: speedpay deluge set.
"""


def egg() -> bytes:
    """The plugin for this installation of speedpay. Raises NativeUnavailable where it cannot run."""
    native = load_native().__file__
    assert native is not None
    entry = _ENTRY.format(
        package=str(Path(speedpay.__file__).resolve().parent.parent),
        native=str(Path(native).parent),
        command=[sys.executable, "-P", "-m", "speedpay.integrations.deluge"],
    )
    files = {
        f"{_MODULE}/__init__.py": entry,
        "EGG-INFO/PKG-INFO": _ABOUT,
        "EGG-INFO/entry_points.txt": f"[deluge.plugin.core]\n{PLUGIN} = {_MODULE}:CorePlugin\n",
        "EGG-INFO/top_level.txt": f"{_MODULE}\n",
        "EGG-INFO/zip-safe": "\n",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return made.getvalue()


def install(config: Path) -> Path:
    """Put it into deluged's folder of plugins; the file's path. Older versions of ours are replaced."""
    plugins = _plugins(config)
    data = egg()
    uninstall(config)
    path = plugins / _EGG
    fresh = path.with_suffix(".new")
    try:
        plugins.mkdir(exist_ok=True)
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:
        raise InvalidSetting(
            f"{path} cannot be written: {error.strerror}", field="config"
        ) from error
    return path


def uninstall(config: Path) -> list[Path]:
    """Remove what ``install`` wrote; what it removed. Settings and the wallet stay."""
    found = sorted(_plugins(config).glob(f"{PLUGIN}-*.egg"))
    for path in found:
        try:
            path.unlink()
        except OSError as error:
            raise InvalidSetting(
                f"{path} cannot be removed: {error.strerror}", field="config"
            ) from error
    return found


def _plugins(config: Path) -> Path:
    if not config.is_dir():
        raise NotFound(
            f"{config} is not a folder", field="config",
            hint="name deluged's own: --config DIR, as in deluged --config DIR",
        )  # fmt: skip
    return config / "plugins"
