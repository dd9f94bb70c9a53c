"""The chain as the rest of the program sees it: what happened, and how to make something happen.

Only this package knows tronpy. A transaction is made in steps, so that a crash after any of them
loses nothing: ``prepare_…`` (nothing has happened), ``Unsigned.sign``, the caller stores
``Signed.text`` durably, ``broadcast`` (may be repeated), ``receipt`` (seen), ``receipt(solid=True)``
(for good). Errors: ``ChainUnreachable``: nobody knows, ask again. ``ChainRefused``: the network or a
contract said no, and nothing has happened. ``WrongNetwork``: a node is on another chain; mainnet is
always refused. ``Malformed``: a node says what cannot be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from speedpay.chain import abi, answers, fees, reverts, scan, sending
from speedpay.chain.address import ZERO, check_address, of_contract, to_base58
from speedpay.chain.answers import Block, Event, Receipt, Resources
from speedpay.chain.artifact import Artifact
from speedpay.chain.networks import Network
from speedpay.chain.nodes import Nodes
from speedpay.chain.preparing import Preparing
from speedpay.chain.transaction import Signed, Unsigned
from speedpay.errors import ChainRefused, ChainUnreachable, Malformed

if TYPE_CHECKING:
    from speedpay.chain.node import Node

#: Long enough to be in a block on a busy day, short enough to be tried again within an epoch.
LIFETIME_S = 60
SCAN_BATCH = 100


class Tron:
    """``nodes``: 1 to 4 URLs; where money depends on an answer, two of them must agree.

    ``timeout_s``: how long a node may be silent; ``attempts``: how often one is asked. Threads may
    share an object. ``with Tron(…) as tron:`` closes its connections.
    """

    def __init__(
        self, network: Network, nodes: Sequence[str], api_key: str | None = None, *,
        timeout_s: float = 10.0, attempts: int = 4, clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.network = network
        self._nodes = Nodes(
            network,
            nodes,
            api_key,
            timeout_s=timeout_s,
            attempts=attempts,
            clock=clock,
            sleep=sleep,
        )
        self._preparing = Preparing(self._nodes)

    def __enter__(self) -> Tron:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._nodes.close()

    # --- which chain, and how far it is ---------------------------------------------------------

    def check_network(self) -> None:
        """Asks every node which chain it is on. Raises WrongNetwork; ChainUnreachable if none answers."""
        self._nodes.check_all()

    @property
    def genesis(self) -> bytes:
        """The id of block 0, 32 bytes."""
        return self._nodes.genesis()

    @property
    def chain_id(self) -> int:
        """TRON's CHAINID, as contracts, heads and leaves have it."""
        return self._nodes.chain_id()

    def head(self) -> Block:
        """The newest block of one node; it may still be replaced."""
        return self._nodes.one(self._nodes.head)

    def solid(self) -> Block:
        """The newest final block, by two nodes when two are configured."""
        return self._nodes.solid()

    # --- reading ----------------------------------------------------------------------------------

    def receipt(self, txid: bytes, *, solid: bool = False) -> Receipt | None:
        """None while the transaction is in no block. ``solid``: in a final block, by two nodes."""

        def asked(node: Node) -> Receipt | None:
            name = "get_solid_transaction_info" if solid else "get_transaction_info"
            found = node.call(lambda tron: getattr(tron, name)(txid.hex()))
            if found is None:
                return None
            receipt = answers.receipt(found)
            if receipt.txid != txid:
                raise Malformed(f"is of another transaction, says {node.url}", field="receipt.id")
            return receipt

        if solid:
            what = f"what became of {txid.hex()}"
            return self._nodes.agreed_if_known(asked, what)
        return self._nodes.first_known(asked)

    def known(self, txid: bytes) -> bool:
        """Has any node it, in a block or waiting? False only when two (or all) nodes have not."""
        return sending.known(self._nodes, txid)

    def expired(self, signed: Signed) -> bool:
        """Can it never be in a block any more? By the time of a final block, on two nodes."""
        return self.solid().time_s > signed.expires_at

    def view(
        self, contract: bytes, signature: str, arguments: Sequence[Any], returns: Sequence[str],
        *, agreed: bool = False, solid: bool = False,
    ) -> tuple[Any, ...]:  # fmt: skip
        """What a contract answers to a call that changes nothing, such as ``"paidTo(bytes16)"``.

        ``returns``: the answer's types. ``agreed``: two nodes must say the same; ``solid``: on the
        state of the newest final block. Raises ChainRefused when the contract reverts; its field is
        then the error's name.
        """
        data = abi.encode_call(signature, arguments)

        def asked(node: Node) -> tuple[Any, ...]:
            _, output = fees.attempt(node, ZERO, contract, data, solid=solid)
            return abi.decode(returns, output, signature)

        def said(node: Node) -> tuple[tuple[Any, ...], tuple[str, str | None] | None]:
            try:
                return asked(node), None
            except ChainRefused as error:
                return (), (error.message, error.field)

        if not agreed:
            return self._nodes.one(asked)
        # A refusal is an answer too: one node alone cannot make an anchor unknown.
        values, refusal = self._nodes.agreed_soon(said, signature)
        if refusal is not None:
            raise ChainRefused(refusal[0], field=refusal[1])
        return values

    def events(self, contract: bytes, from_block: int, to_block: int) -> list[Event]:
        """Everything the contract logged in these final blocks, both included, in order.

        At most scan.MAX_BLOCKS at once. Two nodes must agree. Raises ChainUnreachable when
        ``to_block`` is not final on both.
        """
        check_address(contract, "contract")
        return self._nodes.agreed(
            lambda node: scan.events(node, contract, from_block, to_block),
            f"the events of blocks {from_block} to {to_block}",
        )

    def scan(
        self, contract: bytes, from_block: int, to_block: int, batch: int = SCAN_BATCH
    ) -> Iterator[tuple[int, list[Event]]]:
        """The same in batches: (next block to ask for, events before it). Resume from the number."""
        while from_block <= to_block:
            last = min(to_block, from_block + batch - 1)
            yield last + 1, self.events(contract, from_block, last)
            from_block = last + 1

    def trx_balance(self, account: bytes) -> int:
        """Sun; 0 for an account that does not exist yet."""
        return self._nodes.one(lambda node: fees.purse(node, account)).balance_sun

    def token_balance(self, token: bytes, account: bytes) -> int:
        """Base units of a TRC-20. At most 2^256 − 1: it is somebody else's contract."""
        return int(self.view(token, "balanceOf(address)", [account], ["uint256"])[0])

    def resources(self, account: bytes) -> Resources:
        return self._nodes.one(lambda node: fees.purse(node, account)).free

    def prices(self) -> fees.Prices:
        return self._nodes.one(fees.prices)

    # --- preparing --------------------------------------------------------------------------------

    def prepare_call(
        self, owner: bytes, contract: bytes, signature: str, arguments: Sequence[Any],
        fee_limit_sun: int, call_value_sun: int = 0, *, lifetime_s: int = LIFETIME_S,
    ) -> Unsigned:  # fmt: skip
        """A call such as ``"deposit(uint64,bytes16)"``. ``fee_limit_sun``: never more for energy.

        The call is tried on the node first. Raises ChainRefused, with nothing signed, when it would
        fail, would cost more than the bound, or when ``owner`` cannot pay for it.
        """
        data = abi.encode_call(signature, arguments)
        return self._preparing.call(
            owner, contract, data, fee_limit_sun, call_value_sun, lifetime_s
        )

    def prepare_deploy(
        self, owner: bytes, artifact: Artifact, arguments: Sequence[Any], fee_limit_sun: int,
        *, lifetime_s: int = LIFETIME_S,
    ) -> Unsigned:  # fmt: skip
        """The contract's address follows from it: ``deployed_address``."""
        return self._preparing.deploy(owner, artifact, arguments, fee_limit_sun, lifetime_s)

    def prepare_transfer(
        self, owner: bytes, to: bytes, amount_sun: int, *, lifetime_s: int = LIFETIME_S
    ) -> Unsigned:
        """TRX to another account; a new one costs 1.1 TRX on top, burned."""
        return self._preparing.transfer(owner, to, amount_sun, lifetime_s)

    # --- sending ----------------------------------------------------------------------------------

    def broadcast(self, signed: Signed) -> None:
        """Gives it to the network; may be repeated with the same bytes. See sending.py."""
        sending.broadcast(self._nodes, signed)

    def wait(self, signed: Signed, *, solid: bool = False, timeout_s: float = 180.0) -> Receipt:
        """Until it is in a block. Raises ChainUnreachable when it is in none in time, and ChainRefused
        when what it should do failed there."""
        until = time.monotonic() + timeout_s
        while True:
            receipt = self.receipt(signed.txid, solid=solid)
            if receipt is not None:
                return succeeded(receipt)
            if time.monotonic() > until:
                raise ChainUnreachable(f"{signed.txid.hex()} is in no block after {timeout_s:g} s")
            self.pause()

    def pause(self) -> None:
        """As long as it takes until news are likely."""
        self._nodes.sleep(self.network.poll_s)

    def dev_faucet(self, account: bytes, amount_sun: int) -> None:
        """TRX out of nothing, on a development chain; every other network refuses."""
        if self.network.genesis is not None:
            raise ChainRefused(f"{self.network.name} gives no TRX by itself", field="network")
        given = {"address": to_base58(account), "amount_sun": amount_sun}
        self._nodes.one(lambda node: node.ask("dev/faucet", given))


def succeeded(receipt: Receipt) -> Receipt:
    """The receipt itself. Raises ChainRefused, with the contract's reason, when the call failed."""
    if receipt.ok:
        return receipt
    why = reverts.reason(receipt.output) if receipt.result == "REVERT" else receipt.result
    raise ChainRefused(
        f"{receipt.txid.hex()} failed: {why}", field=reverts.error_name(receipt.output) or "call"
    )


def deployed_address(made: Unsigned | Signed, owner: bytes) -> bytes:
    """Where the contract of a CreateSmartContract transaction will be; known before it is sent."""
    return of_contract(made.txid, owner)
