"""Where the native module cannot be used, the error says so and what to do."""

from __future__ import annotations

import sys
import types

import pytest

from speedpay.errors import NativeUnavailable
from speedpay.swarm import extension
from speedpay.swarm.extension import Extension, load_native


def test_a_missing_native_module_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "speedpay.swarm._native", None)
    monkeypatch.delattr("speedpay.swarm._native", raising=False)
    with pytest.raises(NativeUnavailable, match="missing") as caught:
        load_native()
    assert "./scripts/setup" in caught.value.hint


def test_a_missing_libtorrent_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    with pytest.raises(NativeUnavailable, match="libtorrent's Python binding"):
        load_native()


def test_another_version_of_libtorrent_is_refused(monkeypatch):
    def check_library() -> None:
        raise RuntimeError("built for libtorrent 2.0.8.0, but the one loaded is 2.0.11.0")

    other = types.SimpleNamespace(check_library=check_library)
    monkeypatch.setitem(sys.modules, "speedpay.swarm._native", other)
    monkeypatch.setattr("speedpay.swarm._native", other, raising=False)
    with pytest.raises(NativeUnavailable, match=r"2\.0\.11"):
        load_native()


def test_what_is_no_session_is_refused():
    with pytest.raises(TypeError):
        Extension(object())


def test_a_lost_event_is_an_error_not_a_wrong_count(monkeypatch):
    class Lost:
        def __init__(self, session, name):
            pass

        def drain(self):
            return [], True

    monkeypatch.setattr(extension, "load_native", lambda: types.SimpleNamespace(Extension=Lost))
    with pytest.raises(NativeUnavailable, match="lost count"):
        Extension(None).drain()
