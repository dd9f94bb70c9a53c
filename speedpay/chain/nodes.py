"""Several nodes as one: who is asked, who must agree, and which of them is not to be believed.

A node may be down, slow, late, on another network, or lie. What no money depends on is asked of one
node, the next when that one fails. What money depends on is asked of two, when two are configured: they
must say the same, or the answer is ChainUnreachable with both names, and nobody acts on either.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from speedpay.chain import answers
from speedpay.chain.answers import Block
from speedpay.chain.networks import Network, chain_id_of, check_genesis
from speedpay.errors import (
    ChainRefused,
    ChainUnreachable,
    InvalidSetting,
    Malformed,
    SpeedpayError,
    WrongNetwork,
)

if TYPE_CHECKING:
    from speedpay.chain.node import Node

T = TypeVar("T")
_log = logging.getLogger(__name__)

MAX_NODES = 4
#: Behind this machine's clock: more, and the node has lost the network or the clock is wrong.
MAX_BEHIND_S = 600
#: Behind the other node: two that follow one chain are a few blocks apart at most.
MAX_APART_S = 120
_AGREEMENT_ATTEMPTS = 4
_DISAGREEMENT = "nodes"


class Nodes:
    """``urls``: 1 to 4. Nothing is asked, and tronpy not loaded, before the first use."""

    def __init__(
        self, network: Network, urls: Sequence[str], api_key: str | None = None, *,
        timeout_s: float = 10.0, attempts: int = 4, clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        if not 1 <= len(urls) <= MAX_NODES or len(set(urls)) != len(urls):
            raise InvalidSetting(f"must be 1 to {MAX_NODES} different nodes", field="chain_nodes")
        self.network = network
        self.clock = clock
        self.sleep = sleep
        self._made: list[Node] | None = None
        self._making = threading.Lock()
        self._how = (tuple(urls), api_key, timeout_s, attempts)
        self._genesis = network.genesis

    @property
    def _nodes(self) -> list[Node]:
        with self._making:
            if self._made is None:
                from speedpay.chain.node import Node

                urls, api_key, timeout_s, attempts = self._how
                self._made = [
                    Node(url, self.network, api_key, timeout_s, attempts, self.sleep)
                    for url in urls
                ]
            return self._made

    def close(self) -> None:
        for node in self._made or ():
            node.close()

    def genesis(self) -> bytes:
        """The id of block 0, 32 bytes. Raises WrongNetwork."""
        self.one(lambda node: None)
        assert self._genesis is not None
        return self._genesis

    def chain_id(self) -> int:
        return chain_id_of(self.genesis())

    def check_all(self) -> None:
        """Asks every node anew which chain it is on; WrongNetwork for one that is on another.

        Raises ChainUnreachable when none of them answers.
        """
        for node in self._nodes:
            node.genesis = None
        self._answers(lambda node: None, len(self._nodes))

    def one(self, asked: Callable[[Node], T]) -> T:
        """The first node's answer, or the next one's when it has none."""
        return self._answers(asked, 1)[0][0][1]

    def two(self, asked: Callable[[Node], T]) -> list[tuple[Node, T]]:
        """The answers of two nodes, of one where one is configured.

        Raises ChainUnreachable when two are configured and only one answers.
        """
        wanted = min(2, len(self._nodes))
        found, failures = self._answers(asked, wanted)
        if len(found) < wanted:
            raise ChainUnreachable(
                f"only {found[0][0].url} answers, and two nodes must agree: {failures}"
            )
        return found

    def agreed_soon(self, asked: Callable[[Node], T], what: str) -> T:
        """The same for what a new block may change: two nodes are seldom at the same one."""
        for _ in range(_AGREEMENT_ATTEMPTS - 1):
            try:
                return self.agreed(asked, what)
            except ChainUnreachable as error:
                if error.field != _DISAGREEMENT:
                    raise
                self.sleep(self.network.poll_s)
        return self.agreed(asked, what)

    def agreed(self, asked: Callable[[Node], T], what: str) -> T:
        """What two nodes say alike. ``what``: the words for it, if they differ."""
        (first, answer), *others = self.two(asked)
        for second, other in others:
            if other != answer:
                raise self.contradiction(first, second, what)
        return answer

    def agreed_if_known(self, asked: Callable[[Node], T | None], what: str) -> T | None:
        """The same for what a node may not know yet: None until both know it."""
        found = self.two(asked)
        known = [(node, answer) for node, answer in found if answer is not None]
        for node, answer in known[1:]:
            if answer != known[0][1]:
                raise self.contradiction(known[0][0], node, what)
        return known[0][1] if len(known) == len(found) else None

    def first_known(self, asked: Callable[[Node], T | None]) -> T | None:
        """From the first node that knows it; None when those that answer do not."""
        found, _ = self._answers(asked, len(self._nodes), enough=lambda a: a is not None)
        return found[-1][1]

    def each(self, asked: Callable[[Node], None]) -> list[SpeedpayError | None]:
        """Asks every node, whatever the others do: for each, None or why not."""
        outcomes: list[SpeedpayError | None] = []
        for node in self._nodes:
            try:
                self._check(node)
                asked(node)
                outcomes.append(None)
            except (ChainUnreachable, ChainRefused, Malformed) as error:
                _log.warning("chain: %s: %s", node.url, error)
                outcomes.append(error)
        return outcomes

    def known_to_any(self, asked: Callable[[Node], bool]) -> bool:
        """True as soon as one node says so; False only when two (or all there are) deny it."""
        denied, failures = 0, []
        for node in self._nodes:
            try:
                self._check(node)
                if asked(node):
                    return True
                denied += 1
            except (ChainUnreachable, Malformed) as error:
                failures.append(str(error))
        if denied < min(2, len(self._nodes)):
            raise ChainUnreachable("; ".join(failures) or "no node answered")
        return False

    def head(self, node: Node) -> Block:
        """The newest block. Raises ChainUnreachable for a node that has fallen behind."""
        block = answers.block(node.call(lambda tron: tron.get_latest_block()))
        return self._recent(node, block)

    def solid(self) -> Block:
        """The newest block that two nodes hold to be final: the older of theirs.

        Raises ChainUnreachable when a node is late, or when their chains differ.
        """
        found = self.two(self._solid_of)
        by_number = sorted(found, key=lambda answer: answer[1].number)
        (late, older), (ahead, newer) = by_number[0], by_number[-1]
        if newer.time_s - older.time_s > MAX_APART_S:
            minutes = (newer.time_s - older.time_s) // 60
            raise ChainUnreachable(f"{late.url} is {minutes} minutes behind {ahead.url}")
        if late is not ahead:
            theirs = answers.block(ahead.call(lambda tron: tron.get_block(older.number)))
            if theirs.id != older.id:
                raise self.contradiction(late, ahead, f"block {older.number}")
        return older

    def contradiction(self, first: Node, second: Node, what: str) -> ChainUnreachable:
        message = f"{first.url} and {second.url} do not agree on {what}"
        return ChainUnreachable(message, field=_DISAGREEMENT)

    def _solid_of(self, node: Node) -> Block:
        block = answers.block(node.call(lambda tron: tron.get_latest_solid_block()))
        return self._recent(node, block)

    def _recent(self, node: Node, block: Block) -> Block:
        behind_s = int(self.clock()) - block.time_s
        # Expiry goes by this time: a lie about it would make a transaction that lives for a day. Only a
        # development chain's clock may be put forward.
        if behind_s < -MAX_BEHIND_S and self.network.genesis is not None:
            raise ChainUnreachable(
                f"{node.url} is {-behind_s // 60} minutes ahead of this machine's clock"
            )
        # A development chain begins with block 0, whose time is 0.
        if behind_s > MAX_BEHIND_S and block.number > 0:
            raise ChainUnreachable(
                f"{node.url} is {behind_s // 60} minutes behind this machine's clock",
                hint="is the node in step, and the clock right?",
            )
        return block

    def _answers(
        self, asked: Callable[[Node], T], wanted: int,
        enough: Callable[[T], bool] = lambda _: False,
    ) -> tuple[list[tuple[Node, T]], str]:  # fmt: skip
        """Up to ``wanted`` answers, at least one, until one is ``enough``; and why others failed.

        WrongNetwork and refusals pass through."""
        found: list[tuple[Node, T]] = []
        failures: list[ChainUnreachable | Malformed] = []
        for node in self._nodes:
            try:
                self._check(node)
                answer = asked(node)
                found.append((node, answer))
                if enough(answer):
                    break
            except (ChainUnreachable, Malformed) as error:
                _log.warning("chain: %s", error)
                failures.append(error)
            if len(found) == wanted:
                break
        reasons = "; ".join(str(error) for error in failures)
        if found:
            return found, reasons
        if len({(type(error), str(error)) for error in failures}) == 1:
            raise failures[0]  # one node, or something wrong with what was asked
        raise ChainUnreachable(reasons)

    def _check(self, node: Node) -> None:
        """Before a node is asked anything else: is it on our chain?"""
        if node.genesis is not None:
            return
        genesis = answers.block(node.call(lambda tron: tron.get_block(0))).id
        check_genesis(self.network, genesis, node.url)
        if self._genesis is None:
            self._genesis = genesis
        if genesis != self._genesis:
            raise WrongNetwork(f"{node.url} is on another chain than the others", field="node")
        node.genesis = genesis
