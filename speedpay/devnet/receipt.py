"""What a transaction did, in the words of java-tron's TransactionInfo. Fees in sun, times in ms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from speedpay.chain.address import to_base58
from speedpay.devnet.message import Log

#: contractRet of what is no contract call and went well; the receipt then has no result.
PLAIN = "SUCCESS"


@dataclass(frozen=True)
class Receipt:
    txid: bytes
    block: int
    time_ms: int
    is_call: bool  # of a contract, or its deployment
    result: str  # contractRet
    net_usage: int = 0  # free bytes used
    net_fee: int = 0
    system_fee: int = 0  # of a transfer that opens an account
    energy: int = 0
    energy_fee: int = 0
    packing_fee: int = 0
    contract: bytes | None = None  # 20 bytes
    returned: bytes = b""
    logs: tuple[Log, ...] = ()
    reason: str = ""  # why it failed

    @property
    def fee(self) -> int:
        return self.net_fee + self.energy_fee + self.system_fee

    def to_json(self, visible: bool) -> dict[str, Any]:
        """Without the fields that are empty or 0, as a node prints it."""
        receipt = {
            "energy_fee": self.energy_fee,
            "energy_usage_total": self.energy,
            "net_usage": self.net_usage,
            "net_fee": self.net_fee,
            "result": self.result if self.is_call else None,
        }
        out = {
            "id": self.txid.hex(),
            "fee": self.fee,
            "blockNumber": self.block,
            "blockTimeStamp": self.time_ms,
            "contractResult": [self.returned.hex()],
            "contract_address": self.contract and _address(self.contract, visible),
            "receipt": {name: value for name, value in receipt.items() if value},
            "log": logs_to_json(self.logs, visible),
            "result": "FAILED" if self.reason else None,
            "resMessage": self.reason if visible else self.reason.encode().hex(),
            "packingFee": self.packing_fee,
        }
        always = ("contractResult", "receipt")
        return {name: value for name, value in out.items() if value or name in always}


def logs_to_json(logs: tuple[Log, ...], visible: bool) -> list[dict[str, Any]]:
    """A log's address is 20 bytes in hex, without 41: so on the real networks."""
    out = []
    for log in logs:
        entry: dict[str, Any] = {
            "address": to_base58(log.address) if visible else log.address.hex()
        }
        if log.topics:
            entry["topics"] = [topic.hex() for topic in log.topics]
        if log.data:
            entry["data"] = log.data.hex()
        out.append(entry)
    return out


def _address(raw: bytes, visible: bool) -> str:
    return to_base58(raw) if visible else "41" + raw.hex()
