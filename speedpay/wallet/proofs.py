"""The ledger's word on each epoch, kept by the owner: his leaf, its path, and the signed head.

With these, the words and the chain an owner can show and claim what is his when the ledger is gone. Each
epoch is one evidence file (``proof/evidence.py``), so each can be handed to others as it is. The newest
``KEPT`` that were found on the chain stay, and as many that were only shown: a ledger that shows epochs
which never come pushes out no good one. The vault pays against one of its last 8 anchors, so 64 are more
than any claim can need, and at ten minutes an epoch they are ten hours of history for whoever has to
argue with an operator.
"""

from __future__ import annotations

import re
from pathlib import Path

from speedpay.errors import NotFound, SpeedpayError
from speedpay.proof.evidence import MAX_EVIDENCE_BYTES, Evidence
from speedpay.wallet import files

KEPT = 64
_FILE = re.compile(r"epoch-([1-9][0-9]{0,18})\.json")


class Proofs:
    """Proofs of one account at one ledger, in a folder of their own beside the keystore."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / f"{name}.proofs"
        self._lock = folder / f"{name}.proofs.lock"
        self._seen = self.folder / "seen.json"

    def keep(self, found: Evidence) -> None:
        """Saves it, and drops what is too old. It must hold proof and head."""
        assert found.proof is not None
        with files.locked(self._lock):
            files.write(self._path(found.proof.epoch), found.to_json())
            epochs = self.epochs()
            if len(epochs) <= KEPT:
                return
            found_on_chain = [
                epoch for epoch in epochs if (one := self.of(epoch)) is not None and one.anchor
            ]
            only_shown = [epoch for epoch in epochs if epoch not in found_on_chain]
            for epoch in (*found_on_chain[KEPT:], *only_shown[KEPT:]):
                files.remove(self._path(epoch))

    def of(self, epoch: int) -> Evidence | None:
        """None when it was never kept, or cannot be read any more."""
        try:
            found = read_evidence(self._path(epoch))
        except SpeedpayError:
            return None
        whole = found.proof is not None and found.head is not None
        return found if whole and found.proof and found.proof.epoch == epoch else None

    def all(self) -> list[Evidence]:
        """Those that can be read, the newest first."""
        return [kept for epoch in self.epochs() if (kept := self.of(epoch)) is not None]

    def epochs(self) -> list[int]:
        """Those that were kept, the newest first."""
        if not self.folder.is_dir():
            return []
        names = (_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted((int(match[1]) for match in names if match), reverse=True)

    def seen(self) -> Evidence | None:
        """The newest epoch that was found in order: what a later one must go on from.

        Raises when it cannot be read: without it a rewritten journal would pass unseen.
        """
        try:
            return read_evidence(self._seen)
        except NotFound:
            return None
        except SpeedpayError as error:
            raise SpeedpayError(
                f"{self._seen} is damaged: it held what was verified last",
                hint=f"rm {self._seen}, then speedpay verify begins anew",
            ) from error

    def keep_seen(self, found: Evidence) -> None:
        """Only a newer epoch takes the place of what was seen."""
        assert found.head is not None
        with files.locked(self._lock):
            known = self.seen()
            if (
                known
                and known.head
                and known.head.signed.head.epoch >= found.head.signed.head.epoch
            ):
                return
            files.write(self._seen, found.to_json())

    def keep_mismatch(self, found: Evidence, now: int) -> Path:
        """Where the evidence of something that does not match was put. Never dropped, never replaced."""
        path = self.folder / f"mismatch-{now}.json"
        with files.locked(self._lock):
            count = 1
            while path.exists():
                count += 1
                path = self.folder / f"mismatch-{now}-{count}.json"
            files.write(path, found.to_json())
        return path

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}.json"


def read_evidence(path: Path) -> Evidence:
    """An evidence file. Raises NotFound, or Malformed with the field."""
    content, _ = files.read(path, MAX_EVIDENCE_BYTES)
    return Evidence.from_json(content)
