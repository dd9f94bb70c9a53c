"""Real sessions with everything our module does, for ./scripts/sanitize, which runs this on a build that
watches itself; on the ordinary build it is one more test of the module."""

from __future__ import annotations

import os
import random
from pathlib import Path

from speedpay.swarm import events
from tests.integration.swarm.conftest import Lab, lab, shared_content  # noqa: F401 - fixtures

MIB = 1024 * 1024


def test_the_module_is_the_one_that_was_named() -> None:
    from speedpay.swarm import _native

    if named := os.environ.get("NATIVE_MODULE"):
        assert Path(_native.__file__).samefile(named)
        assert b"__asan_init" in Path(named).read_bytes(), "built without the sanitizer"


def test_a_transfer_with_messages_weights_and_withholding(lab: Lab) -> None:  # noqa: F811
    torrent = lab.content(24 * MIB)
    # Slow enough that weights mean something.
    seeder = lab.node(upload_rate_limit=12 * MIB)
    at_seeder = seeder.add(torrent, torrent.save_dir)
    lab.until(lambda: at_seeder.status().is_seeding and seeder.port, 60)
    leechers = [lab.node() for _ in range(3)]
    handles = []
    for number, leecher in enumerate(leechers):
        handles.append(leecher.add(torrent, lab.dir(f"leecher {number}")))
        handles[-1].connect_peer((seeder.address, seeder.port))
    lab.until(lambda: all(
        leecher.connection_to(seeder) and seeder.connection_to(leecher) for leecher in leechers
    ), 60)  # fmt: skip
    noise = random.Random(1)
    said: list[list[bytes]] = [[] for _ in leechers]
    ends = [(seeder.connection_to(one), one.connection_to(seeder)) for one in leechers]
    for _ in range(40):
        for leecher, (there, here), told in zip(leechers, ends, said, strict=True):
            payload = noise.randbytes(noise.choice((0, 1, 700, 4096)))
            seeder.extension.send(there, payload)
            told.append(payload)
            leecher.extension.send(here, payload[::-1])
            seeder.extension.set_weight(there, noise.randrange(1, 256))
            seeder.extension.withhold(there, noise.random() < 0.3)
        lab.until(lambda: True)
    for there, _ in ends:
        seeder.extension.withhold(there, False)
    lab.until(lambda: all(handle.status().is_seeding for handle in handles), 90)
    for leecher, (_, here), told in zip(leechers, ends, said, strict=True):
        lab.until(lambda one=leecher, at=here: len(one.messages(at)) == 40, 60)
        assert leecher.messages(here) == told
    received = sum(leecher.received_bytes() for leecher in leechers)
    print(f"sanitize: {received // MIB} MiB and {40 * 6} messages over {len(leechers)} connections")


def test_peers_that_vanish_and_come_back(lab: Lab) -> None:  # noqa: F811
    torrent = lab.content(8 * MIB)
    seeder = lab.node(upload_rate_limit=2 * MIB)
    at_seeder = seeder.add(torrent, torrent.save_dir)
    lab.until(lambda: at_seeder.status().is_seeding and seeder.port, 60)
    for number in range(6):
        leecher = lab.node()
        handle = leecher.add(torrent, lab.dir(f"leecher {number}"))
        handle.connect_peer((seeder.address, seeder.port))
        lab.until(lambda one=leecher: seeder.connection_to(one), 60)
        connection = seeder.connection_to(leecher)
        seeder.extension.set_weight(connection, 200)
        for _ in range(5):
            seeder.extension.send(connection, b"x" * 1000)
        if number % 2:
            seeder.extension.withhold(connection, True)
        # In the middle of it, in three ways.
        if number % 3 == 0:
            lab.clients.remove(leecher)
            leecher.close()
        elif number % 3 == 1:
            leecher.session.remove_torrent(handle)
        else:
            leecher.extension.close()
            lab.clients.remove(leecher)
            handle.pause()
        seeder.extension.send(connection, b"to whom?")
        lab.until(lambda ended=number + 1: len(seeder.of(events.PeerGone)) >= ended, 60)
    print(f"sanitize: {len(seeder.of(events.PeerGone))} connections ended in the middle")


def test_a_client_that_closes_while_it_is_busy(lab: Lab) -> None:  # noqa: F811
    torrent = lab.content(8 * MIB)
    for number in range(4):
        seeder, leecher = lab.node(), lab.node()
        at_seeder = seeder.add(torrent, torrent.save_dir)
        lab.until(lambda at=at_seeder, one=seeder: at.status().is_seeding and one.port, 60)
        handle = leecher.add(torrent, lab.dir(f"busy {number}"))
        handle.connect_peer((seeder.address, seeder.port))
        lab.until(lambda one=seeder, other=leecher: one.connection_to(other), 60)
        connection = seeder.connection_to(leecher)
        for _ in range(20):
            seeder.extension.send(connection, b"y" * 500)
            seeder.extension.set_weight(connection, 7)
        closing = seeder if number % 2 else leecher
        lab.clients.remove(closing)
        closing.close()
        if number < 2:
            # Python goes on using what is closed.
            closing.extension.send(connection, b"too late")
            closing.drain()
            closing.extension.close()


def test_hostile_numbers_pass_through_the_plugin(lab: Lab) -> None:  # noqa: F811
    from tests.integration.swarm.test_strangers import HAVE_ALL, REJECT, UNCHOKE, Stranger

    torrent = lab.content(MIB)
    node = lab.node()
    handle = node.add(torrent, lab.dir("leecher"))
    lab.until(lambda: node.port and handle.status().state not in (1, 7), 60)  # done checking
    stranger = Stranger(node, torrent)
    lab.until(lambda: node.of(events.PeerExtended), 60)
    stranger.send(HAVE_ALL)
    stranger.send(UNCHOKE)
    for numbers in ((3, 0, 2**31 - 1), (2**31, 2**31, 2**31), (0, 2**31 - 1, 2**31 - 1)):
        stranger.send(REJECT, b"".join(number.to_bytes(4) for number in numbers))
    stranger.extended(stranger.our_id, b"end")
    lab.until(lambda: node.of(events.Message), 60)
    stranger.socket.close()
