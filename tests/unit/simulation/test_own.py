"""A swarm of the user's own: what the file may hold, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from speedpay.errors import InvalidSetting, NotFound
from speedpay.simulation.own import try_out
from speedpay.simulation.policies import Policy
from speedpay.simulation.swarm_file import MAX_FILE_BYTES, read_swarm
from speedpay.units import MIB


def swarm(**changes: Any) -> dict[str, Any]:
    return {
        "seeders": [{"name": "box", "uplink": "4MiB/s"}],
        "peers": [
            {"name": "three", "bid": "30", "wanted": "90MiB"},
            {"name": "one", "bid": "10", "wanted": "60MiB"},
            {"name": "free", "wanted": "30MiB"},
        ],
    } | changes


def written(folder: Path, value: object) -> Path:
    path = folder / "mine.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_shares_times_and_costs_are_those_of_the_rule(tmp_path: Path) -> None:
    found = try_out(read_swarm(written(tmp_path, swarm())), Policy.COMMITTED)
    peers = {peer["name"]: peer for peer in found["peers"]}
    shares = {name: peer["share"] for name, peer in peers.items()}
    assert shares == pytest.approx({"three": 0.5625, "one": 0.1875, "free": 0.25}, abs=0.02)
    assert [peer["got_bytes"] for peer in found["peers"]] == [90 * MIB, 60 * MIB, 30 * MIB]
    # 180 MiB at 4 MiB/s, and the uplink is never idle.
    assert max(peer["seconds"] for peer in found["peers"]) == pytest.approx(45, abs=0.5)
    costs = [int(peer["cost_utok"]) for peer in found["peers"]]
    # 90 MiB at 30 tok/GiB and 60 at 10; the first moments, before a bid arrives, are free.
    assert costs[0] == pytest.approx(90 / 1024 * 30e6, rel=0.01)
    assert costs[1] == pytest.approx(60 / 1024 * 10e6, rel=0.01)
    assert costs[2] == 0
    assert int(found["seeders"][0]["earned_utok"]) in range(sum(costs), sum(costs) + 2)


def test_one_address_is_one_place(tmp_path: Path) -> None:
    two = [
        {"name": name, "bid": "10", "wanted": "60MiB", "address": address}
        for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.2"))
    ]
    found = try_out(read_swarm(written(tmp_path, swarm(peers=two))), Policy.COMMITTED)
    assert [peer["share"] for peer in found["peers"]] == pytest.approx([0.5, 0.25, 0.25], abs=0.01)


def test_an_automatic_bid_is_the_formulas(tmp_path: Path) -> None:
    peer = {"name": "me", "bid": "auto", "balance": "4", "wanted": "1GiB", "consumption": "0.5"}
    found = try_out(read_swarm(written(tmp_path, swarm(peers=[peer]))), Policy.COMMITTED)
    assert found["peers"][0]["bid_utok_per_mib"] == str(2_000_000 // 1024)


def test_a_swarm_that_takes_weeks_is_computed_in_a_moment(tmp_path: Path) -> None:
    slow = swarm(seeders=[{"name": "box", "uplink": "1KiB/s"}])
    slow["peers"][0]["wanted"] = "3GiB"
    found = try_out(read_swarm(written(tmp_path, slow)), Policy.PAID)
    assert found["peers"][0]["seconds"] > 3_000_000


def test_the_example_in_the_docs_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "speedpay/docs/market.md").read_text()
    example = text.split("```json\n")[1].split("```")[0]
    found = read_swarm(written(tmp_path, example))
    assert [peer.name for peer in found.peers] == ["me", "rival", "its twin", "not paying"]
    assert found.peers[1].place == found.peers[2].place == "192.0.2.7"


NAME = {"name": "a", "wanted": "1MiB"}
REFUSED = {
    "peers": swarm(peers=[]),
    "seeders": swarm(seeders={}),
    "peers[0].wanted": swarm(peers=[{"name": "a", "wanted": "1 MB"}]),
    "peers[0].name": swarm(peers=[{"name": "a\n", "wanted": "1MiB"}]),
    "peers[1].name": swarm(peers=[NAME, NAME]),
    "peers[0].bid": swarm(peers=[NAME | {"bid": "-1"}]),
    "peers[0].balance": swarm(peers=[NAME | {"bid": "auto"}]),
    "peers[0].consumption": swarm(
        peers=[NAME | {"bid": "auto", "balance": "1", "consumption": "2"}]
    ),
    "peers[0].downlink": swarm(peers=[NAME | {"downlink": "fast"}]),
    "peers[0].address": swarm(peers=[NAME | {"address": "example.org"}]),
    "peers[0].from": swarm(peers=[NAME | {"from": ["nobody"]}]),
    "peers[0].speed": swarm(peers=[NAME | {"speed": "1"}]),
    "seeders[0].uplink": swarm(seeders=[{"name": "box", "uplink": 4}]),
    "free_pool": swarm(free_pool="0.05"),
    "body": "{",
    "seeds": swarm(seeds=1),
    "a": '{"a": 1, "a": 2}',
    "file": " " * (MAX_FILE_BYTES + 1),
}


@pytest.mark.parametrize(("field", "value"), REFUSED.items(), ids=REFUSED.keys())
def test_what_is_wrong_is_named(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(InvalidSetting) as refused:
        read_swarm(written(tmp_path, value))
    assert str(refused.value).split(": ")[1] == field
    assert refused.value.hint


def test_too_many_connections_are_refused(tmp_path: Path) -> None:
    seeders = [{"name": f"s{n}", "uplink": "1MiB/s"} for n in range(100)]
    peers = [{"name": f"p{n}", "wanted": "1MiB"} for n in range(101)]
    with pytest.raises(InvalidSetting, match="10000 connections"):
        read_swarm(written(tmp_path, swarm(seeders=seeders, peers=peers)))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_swarm(tmp_path / "none.json")
