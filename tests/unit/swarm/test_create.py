"""A torrent made of files is one that our own check and libtorrent accept, with the right hashes."""

from __future__ import annotations

import hashlib
import random

import libtorrent as lt
import pytest

from speedpay.errors import InvalidSetting, Malformed, NotFound
from speedpay.swarm.bencoding import decode
from speedpay.swarm.create import create_torrent

KIB = 1024


def fill(path, size, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def test_one_file_stands_by_itself(tmp_path):
    path = fill(tmp_path / "a.bin", 100 * KIB)
    made = create_torrent([path], piece_length=32 * KIB)
    assert made.save_dir == tmp_path
    assert [(file.path, file.length) for file in made.description.files] == [("a.bin", 100 * KIB)]
    data = path.read_bytes()
    hashes = [
        hashlib.sha1(data[at : at + 32 * KIB]).digest() for at in range(0, len(data), 32 * KIB)
    ]
    assert decode(made.data, "x")[b"info"][b"pieces"] == b"".join(hashes)


def test_a_directory_keeps_its_tree_in_a_fixed_order(tmp_path):
    for number, name in enumerate(("z", "b/y", "b/x", "a")):
        fill(tmp_path / "tree" / name, 10 * KIB + number, number)
    made = create_torrent([tmp_path / "tree"])
    assert made.save_dir == tmp_path
    paths = [file.path for file in made.description.files]
    assert sorted(paths) == ["tree/a", "tree/b/x", "tree/b/y", "tree/z"]
    assert create_torrent([tmp_path / "tree"]).description == made.description


def test_several_paths_of_one_directory_become_one_torrent_named_after_it(tmp_path):
    one, two = fill(tmp_path / "dir" / "one", 20 * KIB), fill(tmp_path / "dir" / "two" / "x", 5)
    fill(tmp_path / "dir" / "left out", 5)
    made = create_torrent([two.parent, one])
    assert made.save_dir == tmp_path
    assert [file.path for file in made.description.files] == ["dir/one", "dir/two/x"]


def test_libtorrent_reads_the_same_infohash_and_files(tmp_path):
    fill(tmp_path / "tree" / "a", 70 * KIB)
    fill(tmp_path / "tree" / "ü" / "b", 1)
    made = create_torrent(
        [tmp_path / "tree"], trackers=["http://t/1", "udp://t/2"], comment="hello", private=True
    )
    theirs = lt.load_torrent_buffer(made.data)
    assert theirs.ti.info_hashes().v1.to_bytes() == made.description.infohash
    files = theirs.ti.files()
    assert [(files.file_path(n), files.file_size(n)) for n in range(files.num_files())] == [
        (file.path, file.length) for file in made.description.files
    ]
    assert theirs.trackers == ["http://t/1", "udp://t/2"]
    assert theirs.ti.priv()
    assert made.description.private


def test_progress_is_reported_up_to_the_whole(tmp_path):
    seen = []
    create_torrent(
        [fill(tmp_path / "a", 100 * KIB)],
        piece_length=16 * KIB,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (100 * KIB, 100 * KIB)
    assert seen == sorted(seen)


def test_the_automatic_piece_length_grows_with_the_content(tmp_path):
    small = create_torrent([fill(tmp_path / "small", 10)])
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 * KIB * KIB)
    assert small.description.piece_length == 64 * KIB
    assert create_torrent([large]).description.piece_length == 256 * KIB


@pytest.mark.parametrize("length", [0, -1, 1000, 8 * KIB, 3 * 16 * KIB, 256 * KIB * KIB])
def test_a_piece_length_that_is_no_power_of_two_in_range_is_refused(tmp_path, length):
    with pytest.raises(InvalidSetting) as caught:
        create_torrent([fill(tmp_path / "a", 10)], piece_length=length)
    assert caught.value.field == "piece_length"


def test_a_missing_path_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        create_torrent([tmp_path / "nothing"])


def test_no_paths_or_no_content_is_refused(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for paths in ([], [tmp_path / "empty"], [tmp_path / "folder"]):
        with pytest.raises(InvalidSetting):
            create_torrent(paths)


def test_paths_of_different_directories_are_refused(tmp_path):
    with pytest.raises(InvalidSetting, match="one directory"):
        create_torrent([fill(tmp_path / "a" / "x", 1), fill(tmp_path / "b" / "x", 1)])


def test_a_link_to_a_directory_is_refused(tmp_path):
    fill(tmp_path / "tree" / "a", 1)
    (tmp_path / "tree" / "up").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(InvalidSetting, match="links"):
        create_torrent([tmp_path / "tree"])


def test_a_name_that_others_would_refuse_is_refused(tmp_path):
    fill(tmp_path / "tree" / "a\nb", 1)
    with pytest.raises(Malformed, match="control"):
        create_torrent([tmp_path / "tree"])
