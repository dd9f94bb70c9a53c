"""What ``speedpay seed`` takes its paths for: files of which a torrent is made, or torrents."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedpay.cli.output import Output
from speedpay.cli.seed import _sources
from speedpay.errors import InvalidSetting
from speedpay.swarm.create import create_torrent


def _file(path: Path, content: bytes = b"x" * 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _torrent(path: Path) -> Path:
    return _file(path, create_torrent([_file(path.with_suffix(".bin"))]).data)


def test_several_torrents_stay_several_and_each_has_its_own_folder(tmp_path: Path) -> None:
    one, two = _torrent(tmp_path / "a" / "one.torrent"), _torrent(tmp_path / "b" / "two.torrent")
    found = _sources(Output(), (one, two), None)
    assert [(s.data, s.save_dir, s.link) for s in found] == [
        (one.read_bytes(), tmp_path / "a", None), (two.read_bytes(), tmp_path / "b", None),
    ]  # fmt: skip
    elsewhere = tmp_path / "files"
    assert {s.save_dir for s in _sources(Output(), (one, two), elsewhere)} == {elsewhere}


def test_a_folder_of_nothing_but_torrents_stands_for_them(tmp_path: Path) -> None:
    folder = tmp_path / "torrents"
    for name in ("one", "two"):
        made = _torrent(tmp_path / f"{name}.torrent")
        _file(folder / made.name, made.read_bytes())
    found = _sources(Output(), (folder, tmp_path / "one.torrent"), tmp_path)
    assert len(found) == 3
    _file(folder / "readme.txt")
    (made,) = _sources(Output(), (folder,), None)
    assert (made.save_dir, made.link is None) == (tmp_path, False), "one torrent of the folder"


def test_several_files_of_one_folder_are_made_into_one_torrent(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (made,) = _sources(Output(), (_file(folder / "a"), _file(folder / "b")), None)
    assert made.link is not None


def test_a_mixture_is_refused(tmp_path: Path) -> None:
    torrent, other = _torrent(tmp_path / "one.torrent"), _file(tmp_path / "other")
    for paths in ((torrent, other), (other, torrent)):
        with pytest.raises(InvalidSetting, match=r"are \.torrents and other files"):
            _sources(Output(), paths, None)
    with pytest.raises(InvalidSetting, match=r"goes with \.torrent files"):
        _sources(Output(), (other,), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidSetting, match="nothing in it"):
        _sources(Output(), (tmp_path / "empty",), None)
