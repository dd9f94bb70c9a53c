"""Every way in which a torrent description is refused, and that nothing else ever comes of one."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.errors import Malformed
from speedpay.swarm import content
from speedpay.swarm.bencoding import encode
from speedpay.swarm.content import check_info, check_torrent_file, read_torrent_file

PIECE = 16 * 1024


def reads_or_refuses(check: Callable[[bytes], object], data: bytes) -> None:
    """Any other exception than Malformed fails the test."""
    field: str | None = "none needed"
    try:
        check(data)
    except Malformed as error:
        field = error.field
    assert field


def file(*path: bytes, length: int = PIECE, **more: Any) -> dict[bytes, Any]:
    return {b"path": list(path), b"length": length} | {k.encode(): v for k, v in more.items()}


def info(*files: dict[bytes, Any], changes: dict[bytes, Any] | None = None) -> dict[bytes, Any]:
    listed = list(files) or [file(b"a"), file(b"b", b"c")]
    total = sum(entry[b"length"] for entry in listed if isinstance(entry[b"length"], int))
    pieces = min(-(-max(total, 0) // PIECE), 100_000)
    made: dict[bytes, Any] = {
        b"name": b"content",
        b"piece length": PIECE,
        b"files": listed,
        b"pieces": bytes(20 * pieces),
    }
    made.update(changes or {})
    return {key: value for key, value in made.items() if value is not None}


def refused(description: dict[bytes, Any], field: str, words: str = "") -> None:
    """The info dictionary is refused for that field, in a file and alone."""
    for check, data in (
        (check_info, encode(description)),
        (check_torrent_file, encode({b"info": description})),
    ):
        with pytest.raises(Malformed) as caught:
            check(data)
        assert caught.value.field == field
        assert words in caught.value.message


def test_a_valid_description_is_read():
    described = check_info(encode(info()))
    assert described.name == "content"
    assert [entry.path for entry in described.files] == ["content/a", "content/b/c"]
    assert described.total_bytes == 2 * PIECE
    assert described.piece_length == PIECE
    assert described.infohash == hashlib.sha1(encode(info())).digest()
    assert not described.private


def test_a_single_file_is_read():
    described = check_info(encode(info(changes={b"files": None, b"length": 2 * PIECE})))
    assert [entry.path for entry in described.files] == ["content"]


def test_the_infohash_is_of_the_bytes_as_they_came_not_sorted_anew():
    raw = b"d6:lengthi16384e4:name1:n12:piece lengthi16384e6:pieces20:" + bytes(20) + b"e"
    unsorted = b"d4:name1:n6:lengthi16384e12:piece lengthi16384e6:pieces20:" + bytes(20) + b"e"
    assert check_info(unsorted).infohash == hashlib.sha1(unsorted).digest()
    assert check_torrent_file(b"d4:info" + raw + b"e").infohash == hashlib.sha1(raw).digest()


# ---------------------------------------------------------------------------------------------- names


def test_a_path_element_of_two_dots_is_refused():
    refused(info(file(b"a"), file(b"..", b"b")), "info.files[1].path", '".."')


def test_a_path_element_of_one_dot_is_refused():
    refused(info(file(b".", b"b")), "info.files[0].path", '"."')


def test_an_empty_path_element_is_refused():
    refused(info(file(b"b", b"")), "info.files[0].path", "empty")


def test_an_empty_path_is_refused():
    refused(info(file()), "info.files[0].path")


def test_a_slash_in_a_path_element_is_refused():
    refused(info(file(b"a/../../b")), "info.files[0].path", "slash")


def test_an_absolute_path_is_refused():
    refused(info(file(b"/etc/passwd")), "info.files[0].path", "slash")


def test_an_absolute_name_is_refused():
    refused(info(changes={b"name": b"/etc"}), "info.name", "slash")


def test_a_backslash_in_a_path_element_is_refused():
    refused(info(file(b"..\\b")), "info.files[0].path", "slash")


def test_a_nul_in_a_path_element_is_refused():
    refused(info(file(b"a\0b")), "info.files[0].path", "control")


@pytest.mark.parametrize("control", [b"\n", b"\x1b", b"\x7f", "\x85".encode(), "\u2028".encode()])
def test_a_control_character_in_a_path_element_is_refused(control):
    refused(info(file(b"a" + control)), "info.files[0].path", "control")


@pytest.mark.parametrize("control", ["\u202e", "\u202d", "\u2066", "\u2069", "\u200f", "\u061c"])
def test_a_change_of_text_direction_in_a_name_is_refused(control):
    refused(info(file(f"{control}gpj.exe".encode())), "info.files[0].path", "direction")


def test_right_to_left_letters_themselves_are_accepted():
    check_info(encode(info(file("ספר.txt".encode()))))


def test_a_name_that_is_not_utf8_is_refused():
    refused(info(file(b"\xff\xfe")), "info.files[0].path", "UTF-8")


def test_an_encoded_surrogate_is_refused():
    refused(info(file(b"\xed\xa0\x80")), "info.files[0].path", "UTF-8")


def test_a_name_of_256_bytes_is_refused_and_of_255_accepted():
    refused(info(file(b"a" * 256)), "info.files[0].path", "255")
    check_info(encode(info(file(b"a" * 255))))


def test_a_path_of_more_than_2048_bytes_is_refused():
    refused(info(file(*[b"a" * 200] * 11)), "info.files[0].path", "2048")


def test_the_name_of_the_torrent_is_checked_like_a_path_element():
    for name in (b"..", b"", b"a/b", b"a\0"):
        refused(info(changes={b"name": name}), "info.name")
    refused(info(changes={b"name": None}), "info.name")


def test_the_utf8_variants_of_names_are_checked_too():
    # libtorrent prefers them, so a clean name beside a hostile one would be worthless.
    refused(info(changes={b"name.utf-8": b".."}), "info.name.utf-8")
    hostile = file(b"a") | {b"path.utf-8": [b"..", b"b"]}
    refused(info(hostile), "info.files[0].path.utf-8")


def test_two_files_of_one_path_are_refused():
    refused(info(file(b"a"), file(b"a")), "info.files[1].path", "twice")


def test_two_files_that_differ_only_in_case_are_refused():
    refused(info(file(b"A", b"x"), file(b"a", b"X")), "info.files[1].path", "twice")


def test_two_files_that_differ_only_in_composition_are_refused():
    refused(info(file("\u00e9".encode()), file("e\u0301".encode())), "info.files[1].path", "twice")


def test_a_file_below_another_file_is_refused():
    refused(info(file(b"a"), file(b"A", b"b")), "info.files[1].path", "below")


def test_a_file_named_like_a_directory_is_refused():
    refused(info(file(b"a", b"b"), file(b"a")), "info.files[1].path", "twice")


def test_a_symbolic_link_is_refused():
    refused(info(file(b"a", attr=b"l")), "info.files[0].attr", "link")
    link = file(b"a") | {b"symlink path": [b"..", b"etc"]}
    refused(info(link), "info.files[0].attr", "link")
    single = {b"files": None, b"length": PIECE, b"attr": b"xl"}
    refused(info(changes=single), "info.attr", "link")


def test_padding_files_may_share_a_name_and_are_not_content():
    pad = file(b".pad", b"100", attr=b"p", length=100)
    described = check_info(encode(info(file(b"a"), pad, pad)))
    assert [entry.path for entry in described.files] == ["content/a"]
    assert described.total_bytes == PIECE


# ---------------------------------------------------------------------------------------------- sizes


def test_a_torrent_file_above_16_mib_is_refused(tmp_path):
    path = tmp_path / "large.torrent"
    path.write_bytes(bytes(content.MAX_TORRENT_FILE_BYTES + 1))
    with pytest.raises(Malformed) as caught:
        read_torrent_file(path)
    assert caught.value.field == "torrent"
    with pytest.raises(Malformed):
        check_torrent_file(bytes(content.MAX_TORRENT_FILE_BYTES + 1))
    with pytest.raises(Malformed):
        check_info(bytes(content.MAX_TORRENT_FILE_BYTES + 1))


def test_100_001_files_are_refused():
    many = [file(b"%d" % number, length=1) for number in range(100_001)]
    refused(info(*many), "info.files", "100,000")


def test_more_than_8_tib_are_refused():
    half = content.MAX_TOTAL_BYTES // 2
    refused(info(file(b"a", length=half), file(b"b", length=half + 1)), "info.files", "8 TiB")
    refused(info(file(b"a", length=10 * 1024**4)), "info.files[0].length")


def test_a_negative_length_is_refused():
    refused(info(file(b"a"), file(b"b", length=-1)), "info.files[1].length")


def test_a_length_that_is_no_integer_is_refused():
    entry = file(b"a") | {b"length": b"5"}
    refused(info(entry), "info.files[0].length", "integer")


def test_a_torrent_without_content_is_refused():
    refused(info(file(b"a", length=0)), "info", "no content")


@pytest.mark.parametrize("length", [0, -1, 16 * 1024 - 1, 128 * 1024 * 1024 + 1, 2**40])
def test_a_piece_length_out_of_range_is_refused(length):
    refused(info(changes={b"piece length": length}), "info.piece length", "16 KiB")


def test_piece_hashes_that_do_not_fit_the_content_are_refused():
    refused(info(changes={b"pieces": bytes(20)}), "info.pieces", "20 bytes")
    refused(info(changes={b"pieces": bytes(41)}), "info.pieces")
    refused(info(changes={b"pieces": 5}), "info.pieces")
    refused(info(changes={b"pieces": None}), "info.pieces", "missing")


def test_both_or_neither_of_length_and_files_is_refused():
    refused(info(changes={b"length": PIECE}), "info", "either")
    refused(info(changes={b"files": None}), "info", "either")


def test_wrong_types_are_refused():
    refused(info(changes={b"files": b"x"}), "info.files")
    refused(info(changes={b"files": [b"x"]}), "info.files[0]")
    refused(info(file(b"a") | {b"path": b"a"}), "info.files[0].path")
    refused(info(file(b"a") | {b"path": [1]}), "info.files[0].path")
    refused(info(file(b"a") | {b"attr": 1}), "info.files[0].attr")
    with pytest.raises(Malformed) as caught:
        check_torrent_file(encode({b"info": b"x"}))
    assert caught.value.field == "info"
    for data in (b"le", b"i5e", b"1:x"):
        with pytest.raises(Malformed):
            check_torrent_file(data)


# --------------------------------------------------------------------------------- version 2 (BEP 52)


def info_v2(tree: dict[bytes, Any], changes: dict[bytes, Any] | None = None) -> dict[bytes, Any]:
    made = {b"name": b"content", b"piece length": PIECE, b"meta version": 2, b"file tree": tree}
    made.update(changes or {})
    return made


def leaf(length: int = PIECE, **more: Any) -> dict[bytes, Any]:
    entry = {b"length": length, b"pieces root": bytes(32)}
    return {b"": entry | {key.encode(): value for key, value in more.items()}}


def test_a_version_2_torrent_is_read():
    data = encode(info_v2({b"b": {b"c": leaf()}, b"a": leaf(), b"c": leaf()}))
    described = check_info(data)
    assert [entry.path for entry in described.files] == ["content/a", "content/b/c", "content/c"]
    assert described.infohash == hashlib.sha256(data).digest()[:20]


def test_a_version_2_torrent_of_one_file_has_no_directory():
    described = check_info(encode(info_v2({b"content": leaf()})))
    assert [entry.path for entry in described.files] == ["content"]


def test_names_in_a_file_tree_are_checked():
    refused(info_v2({b"..": leaf()}), "info.file tree...", '".."')
    refused(info_v2({b"a": {b"b/c": leaf()}}), "info.file tree.a.b/c", "slash")
    refused(info_v2({b"a": leaf(), b"A": leaf()}), "info.file tree.a.path", "twice")
    refused(info_v2({b"a": leaf(attr=b"l")}), "info.file tree.a.attr", "link")


def test_a_malformed_file_tree_is_refused():
    refused(info_v2({}), "info.file tree")
    refused(info_v2({b"a": {}}), "info.file tree.a")
    refused(info_v2({b"a": b"x"}), "info.file tree.a")
    refused(info_v2({b"a": leaf() | {b"b": leaf()}}), "info.file tree.a", "either")
    refused(info_v2({b"a": {b"": {b"length": 5}}}), "info.file tree.a.pieces root", "32")
    refused(info_v2({b"a": {b"": 5}}), "info.file tree.a")
    refused(info_v2({b"a": leaf()}, {b"piece length": PIECE * 3}), "info.piece length", "power")
    refused(info_v2({b"a": leaf()}, {b"meta version": 3}), "info.meta version")


def test_a_hybrid_that_lists_two_different_contents_is_refused():
    both = info(file(b"a"), file(b"b")) | {b"meta version": 2}
    check_info(encode(both | {b"file tree": {b"a": leaf(), b"b": leaf()}}))
    refused(both | {b"file tree": {b"a": leaf(), b"c": leaf()}}, "info.file tree", "same files")


# ------------------------------------------------------------------------------------- anything at all


def test_a_torrent_cut_at_any_offset_is_refused():
    whole = encode({b"announce": b"http://x/", b"info": info(file("é".encode()), file(b"b"))})
    for end in range(len(whole)):
        with pytest.raises(Malformed):
            check_torrent_file(whole[:end])


def test_a_torrent_with_bytes_after_its_end_is_refused():
    with pytest.raises(Malformed) as caught:
        check_torrent_file(encode({b"info": info()}) + b"x")
    assert "trailing" in caught.value.message


def test_changed_bytes_are_refused_or_read_but_never_raise_anything_else():
    whole = encode({b"announce": b"http://x/", b"info": info()})
    noise = random.Random(7)
    for at in range(len(whole)):
        for _ in range(4):
            changed = bytearray(whole)
            changed[at] = noise.randrange(256)
            reads_or_refuses(check_torrent_file, bytes(changed))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise_anything_but_malformed(data):
    reads_or_refuses(check_info, data)
    reads_or_refuses(check_torrent_file, data)


_values = st.recursive(
    st.integers(-(2**62), 2**62) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([b"", b"length", b"path", b"attr", b"a"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [b"name", b"piece length", b"pieces", b"files", b"length", b"file tree",
             b"meta version", b"name.utf-8", b"private"]
        ),
        _values,
    )
)  # fmt: skip
def test_any_structure_in_place_of_a_field_is_refused_or_read(changes):
    reads_or_refuses(check_info, encode(info() | changes))
