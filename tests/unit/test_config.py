"""Flag over environment over file over default; what is wrong is named, and what is unknown too."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedpay.config import (
    Endpoint,
    load,
    parse_endpoint,
    parse_rate,
    unknown_variables,
)
from speedpay.errors import InvalidSetting
from speedpay.units import MIB, Share


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"SPEEDPAY_HOME": str(tmp_path)}


def _write(home: dict[str, str], text: str | bytes) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    (Path(home["SPEEDPAY_HOME"]) / "config.toml").write_bytes(content)


def test_defaults_need_no_file(home: dict[str, str]) -> None:
    settings = load({}, home)
    assert settings.ledger_url == "http://127.0.0.1:7461"
    assert settings.network == "devnet"
    assert settings.consumption == Share(250_000)
    assert settings.up_limit is None
    assert settings.ledger_id is None
    assert settings.passphrase_file is None
    assert settings.listen == Endpoint("0.0.0.0", 6881)
    assert not settings.chosen("ledger_url")


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    home: dict[str, str],
) -> None:
    assert load({}, home).origins["consumption"] == "default"
    _write(home, 'consumption = "0.1"')
    settings = load({}, home)
    assert (settings.consumption, settings.origins["consumption"]) == (Share(100_000), "file")
    home["SPEEDPAY_CONSUMPTION"] = "0.2"
    settings = load({}, home)
    assert (settings.consumption, settings.origins["consumption"]) == (
        Share(200_000), "environment",
    )  # fmt: skip
    settings = load({"consumption": "0.3", "listen": None}, home)
    assert (settings.consumption, settings.origins["consumption"]) == (Share(300_000), "flag")
    assert settings.origins["listen"] == "default"


def test_one_variable_moves_every_folder(tmp_path: Path) -> None:
    settings = load({}, {"SPEEDPAY_HOME": str(tmp_path / "all")})
    assert settings.home == tmp_path / "all"
    assert settings.config_file == tmp_path / "all" / "config.toml"


def test_without_it_the_folders_are_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    settings = load({}, {})
    assert settings.home == tmp_path / "data" / "speedpay"
    assert settings.config_file == tmp_path / "config" / "speedpay" / "config.toml"


def test_a_number_in_the_file_never_becomes_a_float(home: dict[str, str]) -> None:
    _write(home, "consumption = 0.300001\nup_limit = 65536")
    settings = load({}, home)
    assert settings.consumption == Share(300_001)
    assert settings.up_limit == 65_536


def test_every_setting_can_be_given_in_the_file(home: dict[str, str]) -> None:
    _write(
        home,
        f"""
        ledger_url = "https://ledger.example:443/"
        ledger_id = "{"0f" * 32}"
        network = "main-1"
        passphrase_file = "/run/secrets/speedpay"
        consumption = 1
        up_limit = "2 MiB/s"
        risk_cap = "2.5"
        listen = "[::1]:7000"
        chain_nodes = "https://a.example, http://127.0.0.1:9/"
        chain_api_key = "0f1e-2d"
        vault = "TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HC"
        other_token = "TJRyWwFs9wTFGZg3JbrVriFbNfCug5tDeC"
        """,
    )
    settings = load({}, home)
    assert settings.shown() == {
        "home": home["SPEEDPAY_HOME"],
        "config_file": home["SPEEDPAY_HOME"] + "/config.toml",
        "ledger_url": "https://ledger.example:443",
        "ledger_id": "0f" * 32,
        "network": "main-1",
        "passphrase_file": "/run/secrets/speedpay",
        "consumption": "1",
        "up_limit": str(2 * MIB),
        "risk_cap": "2.5",
        "listen": "[::1]:7000",
        "chain_nodes": "https://a.example,http://127.0.0.1:9",
        "chain_api_key": "(set)",  # a secret is not shown
        "vault": "TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HC",
        "other_token": "TJRyWwFs9wTFGZg3JbrVriFbNfCug5tDeC",
    }


def test_only_the_development_chain_has_a_node_by_default(home: dict[str, str]) -> None:
    assert load({}, home).nodes() == ("http://127.0.0.1:9090",)
    assert load({"chain_nodes": "http://a,http://b"}, home).nodes() == ("http://a", "http://b")
    with pytest.raises(InvalidSetting) as caught:
        load({"network": "nile"}, home).nodes()
    assert caught.value.field == "chain_nodes"


def test_an_unknown_key_in_the_file_is_refused_by_name(home: dict[str, str]) -> None:
    _write(home, 'ledger_ulr = "http://127.0.0.1:1"')
    with pytest.raises(InvalidSetting) as caught:
        load({}, home)
    assert caught.value.field == "ledger_ulr"
    assert caught.value.hint == "did you mean ledger_url?"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ledger_url", "ftp://x"), ("ledger_url", "127.0.0.1:7461"), ("ledger_url", "http://"),
        ("ledger_url", "http://user:pw@host"), ("ledger_url", "http://h/?q"),
        ("ledger_url", "http://h:99999"), ("ledger_url", "http://[::1"), ("ledger_url", "http://h\x1b"),
        ("ledger_id", "0f" * 31), ("ledger_id", "0F" * 32), ("ledger_id", "x"),
        ("network", ""), ("network", "Devnet"), ("network", "a" * 33), ("network", "dev net"),
        ("consumption", "1.1"), ("consumption", "-0.1"), ("consumption", "25%"),
        ("consumption", "nan"), ("consumption", "1e-1"), ("consumption", ""),
        ("up_limit", "0"), ("up_limit", "-1"), ("up_limit", "fast"), ("up_limit", "2 MiB/min"),
        ("up_limit", "9999999999999G"), ("risk_cap", "0"), ("risk_cap", "-1"), ("risk_cap", "lots"),
        ("listen", "6881"), ("listen", "host:6881"), ("listen", "1.2.3:1"), ("listen", "::1:6881"),
        ("listen", "0.0.0.0:65536"), ("listen", ""),
        ("passphrase_file", "\0"),
        ("chain_nodes", "http://a,ftp://b"), ("chain_nodes", "http://a,http://a/"),
        ("chain_nodes", "http://a,http://b,http://c,http://d,http://e"),
        ("chain_api_key", "a b"), ("chain_api_key", "a" * 129), ("vault", "T"),
        ("vault", "0x" + "0f" * 20), ("other_token", "T0" + "1" * 32),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["flag", "environment"])
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(
    home: dict[str, str], name: str, value: str, where: str
) -> None:
    flags: dict[str, str | None] = {name: value} if where == "flag" else {}
    if where == "environment":
        home[f"SPEEDPAY_{name.upper()}"] = value
    with pytest.raises(InvalidSetting) as caught:
        load(flags, home)
    assert caught.value.field == name


def test_a_mistake_in_the_file_is_found_even_when_a_flag_overrides_it(home: dict[str, str]) -> None:
    _write(home, 'listen = "nowhere"')
    with pytest.raises(InvalidSetting) as caught:
        load({"listen": "127.0.0.1:1"}, home)
    assert caught.value.field == "listen"


@pytest.mark.parametrize(
    "content",
    ["listen", "listen = 0.0.0.0:1", b"\xff", "a = 1\na = 2", "[" * 5_000, "x" * 70_000],
)
def test_a_file_that_is_no_toml_is_refused(home: dict[str, str], content: str | bytes) -> None:
    _write(home, content)
    with pytest.raises(InvalidSetting) as caught:
        load({}, home)
    assert str(caught.value.field).endswith("config.toml")


@pytest.mark.parametrize("value", ["true", "[1]", "{a = 1}", "2026-01-01"])
def test_a_value_of_another_kind_is_refused(home: dict[str, str], value: str) -> None:
    _write(home, f"network = {value}")
    with pytest.raises(InvalidSetting) as caught:
        load({}, home)
    assert caught.value.field == "network"


def test_a_file_that_cannot_be_read_is_refused(home: dict[str, str]) -> None:
    (Path(home["SPEEDPAY_HOME"]) / "config.toml").mkdir()
    with pytest.raises(InvalidSetting, match="cannot be read"):
        load({}, home)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("65536", 65_536), ("64KiB/s", 65_536), ("64 KB/s", 65_536), ("64K", 65_536),
        ("0.5 MiB/s", 524_288), ("1.5MiB", 1_572_864), ("1GiB/s", 2**30), ("100B/s", 100),
    ],
)  # fmt: skip
def test_rates_are_read_as_people_write_them(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["0.0.0.0:6881", "127.0.0.1:0", "[::]:1", "[::1]:65535"])
def test_an_address_is_shown_as_it_is_typed(text: str) -> None:
    assert str(parse_endpoint(text)) == text


def test_a_variable_that_is_no_setting_is_found() -> None:
    environment = {"SPEEDPAY_HOME": "/x", "SPEEDPAY_LISTEN": "", "SPEEDPAY_LEDGER": "", "PATH": ""}
    assert unknown_variables(environment) == ["SPEEDPAY_LEDGER"]


def test_the_home_of_a_user_that_is_not_known_is_refused(home: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting) as refused:
        load({"passphrase_file": "~nobody-of-that-name/x"}, home)
    assert refused.value.field == "passphrase_file"
