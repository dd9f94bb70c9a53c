"""Our compiled contracts: interface and bytecode, as ``./scripts/build_contracts`` writes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

TOKEN, VAULT = "Token", "Vault"
NAMES = (TOKEN, VAULT)
_TYPES = {"constructor", "function", "event", "fallback", "receive", "error"}


@dataclass(frozen=True, slots=True)
class Artifact:
    """``interface``: the entries of Solidity's ABI; ``bytecode``: what deploys it, without arguments."""

    name: str
    interface: tuple[dict[str, Any], ...]
    bytecode: bytes

    def constructor_types(self) -> tuple[str, ...]:
        for entry in self.interface:
            if entry["type"] == "constructor":
                return tuple(parameter["type"] for parameter in entry["inputs"])
        return ()

    def error_signatures(self) -> list[str]:
        return [
            f"{entry['name']}({','.join(parameter['type'] for parameter in entry['inputs'])})"
            for entry in self.interface
            if entry["type"] == "error"
        ]

    def for_chain(self) -> dict[str, Any]:
        """The interface as it is stored on chain (SmartContract.ABI): what its protobuf has no field
        for is left out, and the words begin with a capital."""
        return {"entrys": [_entry(entry) for entry in self.interface if entry["type"] in _TYPES]}


@cache
def load(name: str) -> Artifact:
    text = files("speedpay.chain").joinpath("artifacts", f"{name}.json").read_text("utf-8")
    found = json.loads(text)
    return Artifact(name, tuple(found["abi"]), bytes.fromhex(found["bytecode"].removeprefix("0x")))


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"type": entry["type"].capitalize()}
    if entry.get("name"):
        out["name"] = entry["name"]
    if entry.get("anonymous"):
        out["anonymous"] = True
    if entry.get("stateMutability"):
        out["stateMutability"] = entry["stateMutability"].capitalize()
        if entry["stateMutability"] == "payable":
            out["payable"] = True
    for side in ("inputs", "outputs"):
        if entry.get(side):
            out[side] = [_parameter(parameter) for parameter in entry[side]]
    return out


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"type": parameter["type"]}
    if parameter.get("name"):
        out["name"] = parameter["name"]
    if parameter.get("indexed"):
        out["indexed"] = True
    return out
