"""``speedpay ledger keys``: which keys the ledger speaks with; a new one, one taken back, one for longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from speedpay.cli.output import Output, examples, pass_output, time_text
from speedpay.config import load
from speedpay.errors import NotFound

P = ParamSpec("P")
R = TypeVar("R")
DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the ledger's keys and database; else 'ledger' in speedpay's own.",
)


def directory_of(data: Path | None) -> Path:
    return data if data is not None else load().home / "ledger"


def _acting(command: Callable[P, R]) -> Callable[P, R]:
    """Arguments ``data, root``."""
    root = click.option(
        "--root",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The root key, where it was taken away; else root.key beside the ledger's data.",
    )
    return DATA(root(command))


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "speedpay ledger keys",
        "speedpay ledger keys rotate --root /media/safe/root.key",
        "speedpay ledger keys revoke 5b1d3160791e8830 --root /media/safe/root.key",
    ),
)
@DATA
@pass_output
@click.pass_context
def keys(context: click.Context, out: Output, data: Path | None) -> None:
    """List the ledger's response keys; rotate, revoke, renew them with the root key.

    Works beside serving ledgers, which change over at once. Exit code 2 when the root key is missing or
    another ledger's, 3 when there is no such ledger or key.
    """
    if context.invoked_subcommand is None:
        _show(out, directory_of(data))


@keys.command(epilog=examples("speedpay ledger keys rotate --root /media/safe/root.key"))
@_acting
@pass_output
def rotate(out: Output, data: Path | None, root: Path | None) -> None:
    """A new key signs from now on; what the one before has signed stays good."""
    from speedpay.ledger import response_keys

    directory = directory_of(data)
    response_keys.rotate(directory, response_keys.root_key(_root(directory, root)), _now())
    _show(out, directory)


@keys.command(
    epilog=examples("speedpay ledger keys revoke 5b1d3160791e8830 --root /media/safe/root.key")
)
@click.argument("key")
@_acting
@pass_output
def revoke(out: Output, key: str, data: Path | None, root: Path | None) -> None:
    """Nobody believes KEY (its id, or all of it) any more: it was stolen, or may have been.

    Rotate first: the key in use is refused. Channels stay open and are redeemed; whoever holds a
    statement that KEY signed asks for it again and gets it under the new key.
    """
    from speedpay.ledger import response_keys

    directory = directory_of(data)
    known = response_keys.read(directory)
    if known is None:
        raise _no_ledger(directory)
    found = response_keys.find(known, key)
    secret = response_keys.root_key(_root(directory, root))
    response_keys.revoke(directory, secret, found, _now())
    _show(out, directory)


@keys.command(epilog=examples("speedpay ledger keys renew --root /media/safe/root.key"))
@_acting
@pass_output
def renew(out: Output, data: Path | None, root: Path | None) -> None:
    """The key in use is good for another 90 days from now."""
    from speedpay.ledger import response_keys

    directory = directory_of(data)
    response_keys.renew(directory, response_keys.root_key(_root(directory, root)), _now())
    _show(out, directory)


def _root(directory: Path, given: Path | None) -> Path:
    return given if given is not None else directory / "root.key"


def _now() -> int:
    return int(time.time())


def _no_ledger(directory: Path) -> NotFound:
    return NotFound(
        "no ledger has run in this folder yet", field=str(directory), hint="name it with --data"
    )


def _show(out: Output, directory: Path) -> None:
    """Each key with its state: in use, good, revoked, ended."""
    from speedpay.ledger import response_keys
    from speedpay.ledger_api.signed import key_id

    known = response_keys.read(directory)
    if known is None:
        raise _no_ledger(directory)
    now, revoked = _now(), {one.response_key: one.at for one in known.revocations}
    rows: list[dict[str, object]] = []
    lines = [f"ledger {known.domain.ledger_id.hex()}", f"network {known.network}"]
    for one in known.certificates:
        key, at = one.response_key, revoked.get(one.response_key)
        state = "in use" if key == known.key else "good"
        state = "ended" if one.not_after < now else state
        state = state if at is None else "revoked"
        rows.append(
            {
                "id": key_id(key), "key": key.hex(), "state": state,
                "not_before": one.not_before, "not_after": one.not_after, "revoked_at": at,
            }
        )  # fmt: skip
        until = f"until {time_text(one.not_after)}" if at is None else f"at {time_text(at)}"
        lines.append(f"{key_id(key)}  {state:<7}  {until}")
    listed = {one.response_key for one in known.certificates}
    for key, at in revoked.items():
        if key not in listed:
            rows.append({"id": key_id(key), "key": key.hex(), "state": "revoked", "revoked_at": at})
            lines.append(f"{key_id(key)}  revoked  at {time_text(at)}")
    made = {"ledger_id": known.domain.ledger_id.hex(), "network": known.network, "keys": rows}
    out.result(made, "\n".join(lines))
