"""One Python target under atheris: ``python -m tests.fuzz.with_atheris TARGET [OPTION…] [FOLDER…]``,
both as libFuzzer takes them."""

from __future__ import annotations

import sys

import atheris

# The finder of an editable installation hands out modules that atheris cannot instrument; from the checkout,
# which is the current folder, Python itself finds them, and no target needs the native module.
sys.meta_path[:] = [
    finder for finder in sys.meta_path if not type(finder).__module__.startswith("_editable")
]

with atheris.instrument_imports(include=["speedpay"]):
    from tests.fuzz import python_targets

name, *options = sys.argv[1:]
target = python_targets.everything if name == "everything" else python_targets.TARGETS[name]
atheris.Setup([sys.argv[0], *options], target)
atheris.Fuzz()
