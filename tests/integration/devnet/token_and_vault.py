"""Random calls to the compiled token and vault, on both machines, with all effects compared.

Most arguments fit: the right caller, the next epoch, amounts that are there. The rest is drawn from the
edges of each type. Time goes on, so that deposits get overdue and epochs silent.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from random import Random
from typing import Any

from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from speedpay.chain.abi import encode, selector
from speedpay.devnet.machine import execute
from speedpay.devnet.message import BlockContext, Message, Outcome
from speedpay.devnet.state import State
from tests.integration.devnet.pair import CHAIN_ID, text

DEPLOYER, OPERATOR, GUARDIAN, MINTER, ALICE, BOB = (bytes([n]) * 20 for n in range(0x31, 0x37))
PEOPLE = (OPERATOR, GUARDIAN, MINTER, ALICE, BOB)
LIMIT = 10**10


def artifact(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(
        resources.files("speedpay.chain").joinpath(f"artifacts/{name}.json").read_text()
    )
    return read


class World:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.now_s = 1_700_000_000
        self.late = False
        self.state = State()
        self.evm = EVM(env=Env(cfg=CfgEnv(chain_id=CHAIN_ID)), spec_id="CANCUN")
        for person in (DEPLOYER, *PEOPLE):
            self.state.add_balance(person, 10**9)
            self.evm.insert_account_info(text(person), AccountInfo(balance=10**9))
        token, vault = artifact("Token"), artifact("Vault")
        self.token = self.deploy(token, [MINTER, 10**12])
        seconds = [600, 1200, 3600, 1800]  # interval, delay, silence, grace
        self.vault = self.deploy(vault, [self.token, OPERATOR, GUARDIAN, *seconds])
        self.functions = [
            (to, entry)
            for to, made in ((self.token, token), (self.vault, vault))
            for entry in made["abi"]
            if entry["type"] == "function"
        ]

    def deploy(self, made: dict[str, Any], arguments: list[Any]) -> bytes:
        """At the address where revm puts it."""
        kinds = next(e for e in made["abi"] if e["type"] == "constructor")["inputs"]
        code = bytes.fromhex(made["bytecode"].removeprefix("0x"))
        code += encode([kind["type"] for kind in kinds], arguments)
        self.set_time()
        address = bytes.fromhex(self.evm.deploy(text(DEPLOYER), code, gas=LIMIT)[2:])
        outcome = self.run(Message(DEPLOYER, create=address, data=code, energy_limit=LIMIT))
        assert outcome.ok, outcome
        padding = bytes(33)  # revm shows code as it analysed it
        assert outcome.returned + padding == self.evm.get_code(text(address))
        return address

    def set_time(self) -> None:
        self.evm.set_block_env(BlockEnv(number=1, timestamp=self.now_s))

    def run(self, message: Message) -> Outcome:
        return execute(self.state, BlockContext(1, self.now_s, CHAIN_ID), message)

    def view(self, name: str) -> int:
        data = selector(f"{name}()")
        message = Message(ALICE, to=self.vault, data=data, energy_limit=LIMIT, constant=True)
        return int.from_bytes(self.run(message).returned, "big")

    # ----------------------------------------------------------------------------------- calls

    def compare(self, calls: int) -> Counter[str]:
        """How the calls ended; fails at the first difference."""
        endings: Counter[str] = Counter()
        for n in range(calls):
            self.late = n > calls * 3 // 4
            self.now_s += self.random.choice((0, 3, 3, 60, 600))
            sender, to, data, what = self.draw()
            mine = self.run(Message(sender, to=to, data=data, energy_limit=LIMIT))
            self.set_time()
            try:
                theirs = bytes(self.evm.message_call(text(sender), text(to), data, gas=LIMIT))
                logs = [log.topics for log in self.evm.result.logs]
                done = True
            except RuntimeError as error:
                said = str(error)
                assert said.startswith("Revert"), said
                theirs, logs, done = (
                    bytes.fromhex(said.split("output: 0x")[1].split(" ")[0]),
                    [],
                    False,
                )
            assert (mine.ok, mine.returned) == (done, theirs), (n, what, mine)
            assert [["0x" + t.hex() for t in log.topics] for log in mine.logs] == logs, (n, what)
            endings["done" if done else "reverted"] += 1
        for contract in (self.token, self.vault):
            for slot in set(range(40)) | self.state.storage[contract].keys():
                mine_there = self.state.slot(contract, slot) or 0
                assert mine_there == self.evm.storage(text(contract), slot), (contract, slot)
        return endings

    def draw(self) -> tuple[bytes, bytes, bytes, str]:
        """Caller, contract, data, and what it is called in a report."""
        if self.random.random() < 0.6:
            sender, to, name, arguments = self.sensible()
        else:
            to, entry = self.random.choice(self.functions)
            kinds = [kind["type"] for kind in entry["inputs"]]
            name = f"{entry['name']}({','.join(kinds)})"
            if name == "freeze()" and not self.late:
                name, kinds = "lastEpoch()", []
            sender, arguments = self.random.choice(PEOPLE), [self.value(kind) for kind in kinds]
        kinds = [kind for kind in name.split("(")[1][:-1].split(",") if kind]
        return sender, to, selector(name) + encode(kinds, arguments), f"{name} {arguments}"

    def sensible(self) -> tuple[bytes, bytes, str, list[Any]]:
        random, someone = self.random, self.random.choice(PEOPLE)
        amount = random.choice((1, 5, 1_000, 10**6))
        if self.late and random.random() < 0.03:  # final, hence towards the end
            return GUARDIAN, self.vault, "freeze()", []
        choices: list[tuple[bytes, bytes, str, list[Any]]] = [
            (MINTER, self.token, "mint(address,uint256)", [someone, amount]),
            (someone, self.token, "transfer(address,uint256)", [random.choice(PEOPLE), amount]),
            (someone, self.token, "approve(address,uint256)", [self.vault, 10**9]),
            (someone, self.vault, "deposit(uint64,bytes16)", [amount, random.randbytes(16)]),
            (someone, self.vault, "deposit(uint64,bytes16)", [amount, random.randbytes(16)]),
            (OPERATOR, self.vault, ANCHOR, self.anchor()),
            (OPERATOR, self.vault, ANCHOR, self.anchor()),
            (someone, self.vault, "anchorOf(uint64)", [self.view("lastEpoch")]),
        ]
        return random.choice(choices)

    def anchor(self) -> list[Any]:
        deposits = self.view("depositCount")
        owed = self.random.randrange(self.view("totalDeposits") + 1)
        hashes = [self.random.randbytes(32), self.random.randbytes(32)]
        size = self.view("lastEpoch") * 10 + 10
        return [
            self.view("lastEpoch") + 1,
            *hashes,
            owed,
            size,
            deposits,
            self.random.randbytes(20),
        ]

    def value(self, kind: str) -> Any:
        random = self.random
        if kind.endswith("[]"):
            return [self.value(kind[:-2]) for _ in range(random.randrange(4))]
        if kind == "address":
            return random.choice((*PEOPLE, self.vault, self.token, bytes(20)))
        if kind.startswith("bytes"):
            return random.randbytes(int(kind[5:]))
        bits = int(kind.removeprefix("uint"))
        return random.choice((0, 1, 2, 5, 1_000, 2**bits - 1, random.getrandbits(bits)))


ANCHOR = "anchor(uint64,bytes32,bytes32,uint64,uint64,uint64,bytes20)"
