"""In another program's session: what we change there, whose word holds, and that all of it comes back."""

from __future__ import annotations

import pytest

from speedpay.market.governor import SAMPLE_S
from speedpay.swarm.extension import Extension
from speedpay.swarm.guest import SETTINGS, Guest, infohash_of
from speedpay.swarm.torrent import TorrentState

MIB = 1024 * 1024
#: As a host sets them; none is ours or libtorrent's own.
HOSTS = {"tick_interval": 333, "allowed_fast_set_size": 7, "unchoke_slots_limit": 5}


@pytest.fixture
def session(lab):
    return lab.node(stock=True, **HOSTS).session


def settings(session, *names):
    found = session.get_settings()
    return {name: found[name] for name in names or HOSTS}


def test_what_a_guest_changed_is_given_back(session) -> None:
    before = session.get_settings()
    guest = Guest(session)
    assert settings(session, *SETTINGS) == guest.changed == SETTINGS
    guest.close()
    assert session.get_settings() == before
    guest.govern(True, 0.0)
    guest.close()
    assert session.get_settings() == before, "who has left changes nothing"


def test_what_the_host_sets_meanwhile_holds_then_and_afterwards(session) -> None:
    guest = Guest(session)
    session.apply_settings({"tick_interval": 100, "unchoke_slots_limit": 50})
    guest.look_again()
    assert settings(session) == {
        "tick_interval": 100, "allowed_fast_set_size": 0, "unchoke_slots_limit": 50,
    }  # fmt: skip
    assert guest.free_slots == 50
    session.apply_settings({"allowed_fast_set_size": 3})  # nobody has looked since
    guest.close()
    assert settings(session) == {
        "tick_interval": 100, "allowed_fast_set_size": 3, "unchoke_slots_limit": 50,
    }  # fmt: skip


def test_as_many_are_served_for_free_as_the_host_serves(session) -> None:
    guest = Guest(session)
    assert guest.free_slots == HOSTS["unchoke_slots_limit"]
    session.apply_settings({"unchoke_slots_limit": -1})  # as many as want data
    guest.look_again()
    assert guest.free_slots == 64
    guest.close()


def test_the_hosts_upload_limit_is_the_uplink_and_is_never_touched(session) -> None:
    session.apply_settings({"upload_rate_limit": 3 * MIB})
    guest = Guest(session)
    for step in range(20):
        guest.govern(True, step * SAMPLE_S)
    assert guest.uplink() == 3 * MIB
    assert guest.changed == SETTINGS
    guest.close()


def test_without_a_limit_one_is_found_while_payers_compete_and_the_hosts_own_ends_that(
    session,
) -> None:
    before = session.get_settings()
    guest = Guest(session)
    for step in range(3):
        guest.govern(True, step * SAMPLE_S)
    assert {"upload_rate_limit", "send_buffer_low_watermark"} <= guest.changed.keys()
    session.apply_settings({"upload_rate_limit": 2 * MIB})
    guest.look_again()
    guest.govern(True, 3 * SAMPLE_S)
    assert guest.uplink() == 2 * MIB
    assert guest.changed == SETTINGS
    guest.close()
    assert session.get_settings() == before | {"upload_rate_limit": 2 * MIB}


def test_a_torrent_of_the_hosts_is_seen_until_it_is_removed(lab) -> None:
    node = lab.node(stock=True)
    content = lab.content(1 * MIB)
    handle = node.add(content, content.save_dir)
    lab.until(lambda: handle.status().is_seeding)
    guest = Guest(node.session)
    infohash = infohash_of(handle)
    assert infohash == content.description.infohash
    sight = guest.sight(infohash, handle)
    assert sight is not None
    assert (sight.status.state, sight.status.finished) == (TorrentState.SEEDING, True)
    assert sight.description == content.description
    node.session.remove_torrent(handle)
    lab.until(lambda: not handle.is_valid())
    assert guest.sight(infohash, handle) is None
    guest.close()


def test_the_next_extension_in_a_session_hears_what_the_closed_one_heard_before(lab, pair) -> None:
    seeder, leecher, torrent = pair(1 * MIB)
    lab.until(lambda: leecher.connection_to(seeder) and seeder.connection_to(leecher))
    seeder.extension.close()
    seeder.seen.clear()
    seeder.extension = Extension(seeder.session)
    second = lab.node()
    second.add(torrent, lab.dir("second")).connect_peer((seeder.address, seeder.port))
    lab.until(lambda: seeder.connection_to(second) and second.connection_to(seeder))
    second.extension.send(second.connection_to(seeder), b"to the second")
    lab.until(lambda: seeder.messages(seeder.connection_to(second)) == [b"to the second"])
