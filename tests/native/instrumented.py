"""A pytest plugin (``-p tests.native.instrumented``): the tests of the native module run on another build
of it, the one that ``NATIVE_MODULE`` names. With ``scripts/sanitize`` that is one which watches itself."""

from __future__ import annotations

import importlib.util
import os
import sys

import libtorrent  # noqa: F401 - registers the types that the native module takes apart

_NAME = "speedpay.swarm._native"

_spec = importlib.util.spec_from_file_location(_NAME, os.environ["NATIVE_MODULE"])
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
sys.modules[_NAME] = _module
