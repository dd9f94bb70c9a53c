"""Any bytes as a course of events: what peers say, cuts, restarts, clocks, and answers that are late or lost.

``run`` reads who is there and then one action after another, and holds the promises after each. It is what a
fuzzer drives: an input that breaks one is a sequence of events that does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.simulation import forging, promises, traffic
from tests.simulation.client import Client
from tests.simulation.parts import End, Kind, Link
from tests.simulation.quick_keys import keys_of
from tests.simulation.world import World

MAX_ACTIONS = 300
T = TypeVar("T")


class Source:
    """The input, read from its beginning; zeros after its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return max(0, len(self._data) - self._at)

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(1))

    def choice(self, among: Sequence[T]) -> T:
        return among[self.number() % len(among)]


Action = Callable[[World, Source], None]


def run(data: bytes) -> World:
    """Raises AssertionError when a promise is broken; any other error is a bug as well."""
    source = Source(data)
    # Who is there, and what chance decides within a step, is of a seed: the input's first two bytes.
    seed = int.from_bytes(source.take(2))
    with keys_of(seed):
        world = World(seed)
        if source.number() % 2:
            source.choice(world.clients).kind = Kind.FORGER
        for _ in range(MAX_ACTIONS):
            if not source.left:
                break
            source.choice(ACTIONS)(world, source)
            promises.check(world)
    return world


def _end(world: World, source: Source) -> tuple[Link, End] | None:
    if not world.links:
        return None
    link = source.choice(world.links)
    return link, source.choice((link.a, link.b))


def _at_an_end(
    act: Callable[[World, Link, End], object], times: int = 1, kind: Kind | None = None
) -> Action:
    def action(world: World, source: Source) -> None:
        found = _end(world, source)
        if found is None or (kind is not None and found[1].client.kind is not kind):
            return
        for _ in range(times):
            if found[0] in world.links:
                act(world, *found)

    return action


def _bytes(world: World, source: Source) -> None:
    """Whatever comes next in the input, sealed as it must be."""
    found = _end(world, source)
    if found and found[1].client.kind is Kind.FORGER and found[1].conversation.met:
        forging.inject(world, *found, source.take(source.number()))


def _of_a_client(act: Callable[[World, Client], object]) -> Action:
    return lambda world, source: act(world, source.choice(world.clients)) and None


def _later(*seconds: float) -> Action:
    def action(world: World, source: Source) -> None:
        world.now += source.choice(seconds)

    return action


def _answer_out_of_turn(world: World, source: Source) -> None:
    """One of what is under way comes now: an answer of the ledger, or news of a cut."""
    if world.later:
        _, act = world.later.pop(source.number() % len(world.later))
        act()


def _answer_lost(world: World, source: Source) -> None:
    if world.later:
        del world.later[source.number() % len(world.later)]


def _cut(world: World, source: Source) -> None:
    if world.links:
        world.disconnect(source.choice(world.links))


def _pause(world: World, client: Client) -> None:
    if client.buyer is not None:
        client.buyer.paused = not client.buyer.paused


def _finish(world: World, client: Client) -> None:
    if client.buyer is not None and not client.buyer.finished:
        world.perform(client, client.buyer.finish(world.now))
    else:
        world.perform(client, client.seller.finish())


def _steps(world: World, source: Source) -> None:
    for _ in range(4):
        world.step()


#: Actions that bring a trade forward stand several times: or few inputs would come to where money moves.
ACTIONS: tuple[Action, ...] = (
    *(_steps,) * 8,
    *(_at_an_end(traffic.deliver, times=3),) * 3,
    *(_at_an_end(traffic.serve),) * 2,
    *(_of_a_client(World.tick),) * 2,
    _at_an_end(traffic.deliver),
    _at_an_end(traffic.ask_blocks),
    _at_an_end(forging.forge, kind=Kind.FORGER),
    _bytes,
    _later(0.05, 0.25, 1.0),
    _later(4.0, 30.0, 130.0, 700.0, 100_000.0),
    _answer_out_of_turn,
    _answer_lost,
    _cut,
    _of_a_client(World.restart),
    _of_a_client(lambda world, client: client.back_up()),
    _of_a_client(lambda world, client: world.restart(client, old=True)),
    lambda world, source: world.reconnect(twice=0.5),
    lambda world, source: world.settle(),
    _of_a_client(_pause),
    _of_a_client(_finish),
)  # fmt: skip
