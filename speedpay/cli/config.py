"""``speedpay config``: the settings, and which of flag, environment, file or default decided."""

from __future__ import annotations

import os

import click

from speedpay.cli.output import Output, examples, pass_output
from speedpay.config import load, unknown_variables


@click.group()
def config() -> None:
    """Show the settings and where they come from."""


@config.command(epilog=examples("speedpay config show --origin", "speedpay config show --json"))
@click.option("--origin", is_flag=True, help="Say for each setting what decided it.")
@pass_output
def show(out: Output, origin: bool) -> None:
    """Show every setting.

    They are read from flags, then variables SPEEDPAY_NAME, then the file config.toml, then
    defaults. SPEEDPAY_HOME puts all files of speedpay into one folder.
    """
    settings = load()
    shown = settings.shown()
    width = max(map(len, shown))
    lines = []
    for name, value in shown.items():
        line = f"{name:<{width}}  {'-' if value is None else value}"
        lines.append(f"{line}  ({settings.origins[name]})" if origin else line)
    obj: dict[str, object] = dict(shown)
    if origin:
        obj = {n: {"value": v, "origin": settings.origins[n]} for n, v in shown.items()}
    out.result(obj, "\n".join(lines))
    for name in unknown_variables(os.environ):
        out.warn(f"{name} is not a setting of speedpay")
