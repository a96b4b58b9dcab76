"""Where an instance may be. Addresses outside this machine are judged here, and nobody ever dials them."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from django.conf import settings

from console import env
from console import settings as product
from lab import machine
from rotation.connectors.networks import EVERYWHERE, Networks

ROOT = Path(__file__).resolve().parents[2]
OPEN = Networks()

FORMS = {
    "itself": str,
    "mapped": lambda four: f"::ffff:{four}",
    "compatible": lambda four: str(IPv6Address(int(four))),
    "translated": lambda four: f"::ffff:0:{four}",
    "NAT64": lambda four: str(IPv6Address(int(IPv6Address("64:ff9b::")) + int(four))),
    "6to4": lambda four: str(IPv6Address((0x2002 << 112) + (int(four) << 80) + 1)),
    "Teredo": lambda four: str(IPv6Address((0x2001_0000 << 96) + (int(four) ^ 0xFFFFFFFF))),
    "Teredo's server": lambda four: str(IPv6Address((0x2001_0000 << 96) + (int(four) << 64) + 1)),
    "ISATAP": lambda four: str(IPv6Address(int(IPv6Address("fd00::5efe:0:0")) + int(four))),
}


def nobody(name: str, port: int) -> list[str]:
    raise AssertionError("no name is looked up for this port")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "::1",  # loopback
        "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0",  # link-local
        "100.100.100.200", "fd00:ec2::254",  # metadata services
        "224.0.0.1", "239.1.2.3", "ff02::1", "ff0e::1",  # multicast
        "0.0.0.0", "0.1.2.3",  # noqa: S104
         "::",  # unspecified
        "240.0.0.1", "255.255.255.255", "4000::1", "100::1",  # reserved, broadcast
        "localhost", "127.1", "", "1e3",  # no address
    ],
)  # fmt: skip
def test_no_instance_is_near_or_nowhere(address):
    assert not OPEN.allow(address)


@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.1.1", "8.8.8.8", "2600::1", "fd00::5"])
def test_an_instance_is_in_a_private_or_a_public_network(address):
    assert OPEN.allow(address)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "network",
    ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/8", "240.0.0.0/4", "10.20.0.0/16"],
)
def test_no_way_of_writing_it_opens_an_address_that_is_closed(form, network):
    shut = Networks(forbidden=(ip_network("10.20.0.0/16"),))
    net = ip_network(network)
    for number in (0, 1, net.num_addresses // 3, net.num_addresses - 2, net.num_addresses - 1):
        assert not shut.allow(FORMS[form](net[number])), net[number]


@pytest.mark.parametrize("form", ["itself", "mapped", "NAT64", "translated"])
def test_an_open_address_stays_open_however_it_is_written(form):
    assert OPEN.allow(FORMS[form](IPv4Address("10.0.0.5")))


def test_a_network_that_is_named_opens_itself_and_nothing_beside_it():
    some = Networks(allowed=(*EVERYWHERE, ip_network("127.64.0.0/10")))
    assert some.allow("127.64.0.1")
    assert some.allow("::ffff:127.64.0.1")
    assert not some.allow("127.0.0.1")
    assert not some.allow("169.254.169.254")
    # Everywhere is no name for what is near.
    assert not Networks(allowed=(ip_network("0.0.0.0/1"), ip_network("64.0.0.0/2"))).allow("127.0.0.1")


def test_where_networks_are_named_the_others_are_closed():
    ours = Networks(allowed=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    assert ours.allow("10.0.0.5")
    assert ours.allow("fd00::5")
    assert not ours.allow("192.168.1.1")
    assert not ours.allow("2600::1")


def test_what_is_forbidden_is_forbidden_though_it_is_allowed():
    ours = Networks(allowed=(ip_network("10.0.0.0/8"),), forbidden=(ip_network("10.9.0.0/16"),))
    assert ours.allow("10.8.0.1")
    assert not ours.allow("10.9.0.1")


def test_a_name_is_judged_once_it_is_resolved():
    assert OPEN.allow_typed("web-1.example.com")
    assert OPEN.allow_typed("localhost")
    assert not OPEN.allow_typed("127.0.0.1")


def test_no_instance_is_at_the_place_of_our_own_database_broker_or_console():
    names = {"database": ["10.0.0.7", "fd00::7"], "console": ["10.0.0.8"]}
    ours = Networks(services=(("database", 5432), ("console", 443), ("gone", 6379)))

    def resolve(name: str, port: int) -> list[str]:
        return names.get(name, [])

    for address in ("10.0.0.7", "fd00::7", "::ffff:10.0.0.7", "64:ff9b::a00:7"):
        assert not ours.permit(address, 5432, resolve=resolve)
        assert ours.permit(address, 22, resolve=nobody)
    assert not ours.permit("10.0.0.8", 443, resolve=resolve)
    assert ours.permit("10.0.0.9", 443, resolve=resolve)
    assert ours.permit("10.0.0.9", 6379, resolve=resolve)


def test_a_service_of_this_machine_is_on_every_address_of_this_machine():
    ours = Networks(allowed=(*EVERYWHERE, ip_network("127.0.0.0/8")), services=(("localhost", 5432),))
    for address in ("127.0.0.1", "127.64.1.2"):
        assert not ours.permit(address, 5432, resolve=lambda *_: ["127.0.0.1"])
        assert ours.permit(address, 2222, resolve=nobody)
    assert ours.permit("10.255.255.1", 5432, resolve=lambda *_: ["127.0.0.1"])


# ---------------------------------------------------------------- the settings


def test_the_places_of_our_own_are_read_from_the_settings():
    postgresql = {"ENGINE": "django.db.backends.postgresql"}
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/x"}
    assert env.services(sqlite, "embedded://localhost", "https://keys.example.com") == (
        ("keys.example.com", 443),
    )
    found = env.services(
        postgresql | {"HOST": "db", "PORT": "5433"}, "redis://broker/0", "http://localhost:8000"
    )
    assert {("db", 5433), ("db", 5432), ("broker", 6379), ("localhost", 8000)} == set(found)
    assert ("localhost", 5432) in env.services(postgresql | {"HOST": "", "OPTIONS": {"host": "/run/pg"}})
    assert {("a", 5432), ("b", 5432)} == set(env.services(postgresql | {"HOST": "a,b", "PORT": "5432,5432"}))


def test_a_network_that_is_none_stops_the_start(monkeypatch):
    monkeypatch.setenv("KEYTURN_TRIAL", "10.0.0.1/8")
    with pytest.raises(env.ImproperlyConfigured, match="Write networks as"):
        env.networks("KEYTURN_TRIAL", "")
    monkeypatch.setenv("KEYTURN_TRIAL", "10.0.0.0/8, fd00::/8,192.0.2.7")
    assert [str(found) for found in env.networks("KEYTURN_TRIAL", "")] == [
        "10.0.0.0/8", "fd00::/8", "192.0.2.7/32",
    ]  # fmt: skip


def test_the_demo_s_networks_hold_every_address_of_the_lab():
    nets = [ip_network(text) for text in product.DEMO_NETWORKS]
    for seed in range(128):
        address = next(machine.addresses(seed))
        assert any(IPv4Address(address) in net for net in nets), address
    assert not any(IPv4Address("127.0.0.1") in net for net in nets)


@pytest.mark.parametrize(("demo", "opens"), [("false", ""), ("true", "127.64.0.1")])
def test_a_fresh_installation_reaches_nothing_on_its_own_machine_but_the_demo(demo, opens, tmp_path):
    script = (
        "from django.conf import settings; from rotation.connectors.networks import Networks;"
        "n = Networks(settings.ALLOWED_NETWORKS, settings.FORBIDDEN_NETWORKS);"
        "print(*[a for a in ('127.0.0.1', '::1', '127.64.0.1', '169.254.169.254') if n.allow(a)])"
    )
    kept = {name: text for name, text in os.environ.items() if not name.startswith("KEYTURN_")}
    kept |= {"KEYTURN_DATA": str(tmp_path), "KEYTURN_DEMO": demo}
    kept["DJANGO_SETTINGS_MODULE"] = "console.settings"
    told = subprocess.run(
        [sys.executable, "-c", script], env=kept, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == opens


def test_the_tests_have_no_other_places_than_this_machine_opened():
    assert [str(net) for net in settings.ALLOWED_NETWORKS if net not in EVERYWHERE] == ["127.0.0.0/8"]
