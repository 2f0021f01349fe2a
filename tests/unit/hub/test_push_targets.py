"""The hub cannot be led to machines that only it can reach, whatever a target's URL or name says."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest

from commonroom.hub.targets import (
    CheckedResolver,
    ForbiddenTarget,
    check_url,
    is_allowed,
    networks,
    open_caller,
)
from commonroom.problems import Problem
from tests.unit.hub.push_receiver import receiver_here

INTERNAL = (
    "0.0.0.0",  # noqa: S104 - what is tested
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2001:0:0:0:0:0:80ff:fffe",
    "2002:7f00:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
)
PUBLIC = (
    "8.8.8.8",
    "93.184.215.14",
    "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
)
LOOPBACK = networks("127.0.0.0/8")


@pytest.mark.parametrize("text", INTERNAL)
def test_an_internal_address_is_not_called(text: str) -> None:
    assert not is_allowed(ip_address(text), ())


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_called(text: str) -> None:
    assert is_allowed(ip_address(text), ())


@pytest.mark.parametrize(
    ("listed", "address", "allowed"),
    [
        ("10.20.0.0/16", "10.20.3.4", True),
        ("10.20.0.0/16", "10.21.3.4", False),
        ("10.20.0.0/16", "::ffff:10.20.3.4", True),
        ("fd00:1::/32, 10.0.0.0/8", "fd00:1::5", True),
        ("fd00:1::/32", "fd00:2::5", False),
    ],
)
def test_the_operator_may_list_a_network_and_only_that_is_allowed_too(
    listed: str, address: str, allowed: bool
) -> None:
    assert is_allowed(ip_address(address), networks(listed)) is allowed


def test_a_network_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(Problem, match="CR-002 push_allow_networks"):
        networks("10.0.0.0/8, ours")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/in",
        "https://[::1]/in",
        "https://[::ffff:127.0.0.1]/in",
        "https://169.254.169.254/latest/meta-data",
        "http://example.org/in",
        "http://93.184.215.14/in",
        "ftp://example.org/in",
        "file:///etc/passwd",
        "https:///in",
        "https://user:word@example.org/in",
        "https://user@example.org/in",
        "https://example.org/in#part",
        "https://example.org/in\r\nX: y",
        "https://example.org/a b",
        "https://exämple.org/",
        "https://example.org:99999/",
        "example.org/in",
        "https://example.org/" + "a" * 2048,
    ],
)
def test_a_url_that_is_no_target_is_refused(url: str) -> None:
    with pytest.raises(Problem, match="CR-150"):
        check_url(url, ())


def test_plain_http_is_for_listed_networks_alone() -> None:
    assert check_url("http://127.0.0.1:9/in", LOOPBACK)
    with pytest.raises(Problem, match="https"):
        check_url("http://93.184.215.14/in", LOOPBACK)


def looked_up(*addresses: str) -> Any:
    """A look-up whose every name has these addresses, one answer after the other; the last stays."""
    answers = [list(each.split()) for each in addresses]

    async def look_up(host: str, port: int) -> Any:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
            for text in found
        ]

    return look_up


async def test_a_name_with_one_internal_address_among_public_ones_is_refused() -> None:
    resolver = CheckedResolver(lambda address: is_allowed(address, ()), looked_up("8.8.8.8 10.0.0.1"))
    with pytest.raises(ForbiddenTarget):
        await resolver.resolve("example.org", 443)


@pytest.mark.parametrize("name", ["internal.example", "2130706433", "0x7f.1", "127.1"])
async def test_a_name_for_an_internal_address_is_never_connected_to(name: str) -> None:
    async with (
        receiver_here() as receiver,
        open_caller(networks("10.0.0.0/8"), looked_up("127.0.0.1")) as caller,
    ):
        port = receiver.url.split(":")[2].split("/")[0]
        for scheme in ("http", "https"):
            with pytest.raises((aiohttp.ClientError, OSError, Problem)):
                await caller.call("POST", f"{scheme}://{name}:{port}/in", {}, b"x", 5)
    assert receiver.got == []


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """A name that is public when it is looked up first and internal a moment later (DNS rebinding)."""
    async with (
        receiver_here() as receiver,
        open_caller(LOOPBACK, looked_up("127.0.0.1", "10.0.0.1")) as caller,
    ):
        port = receiver.url.split(":")[2].split("/")[0]
        assert (await caller.call("POST", f"http://name.example:{port}/in", {}, b"x", 5)).status == 204
    assert [got.headers["host"] for got in receiver.got] == [f"name.example:{port}"]


async def test_a_redirect_is_not_followed_and_a_long_answer_not_read_to_its_end() -> None:
    async with receiver_here() as receiver, open_caller(LOOPBACK) as caller:
        receiver.answers = [(302, {"Location": receiver.url})]
        assert (await caller.call("POST", receiver.url, {}, b"x", 5)).status == 302
        assert [(got.method, got.path) for got in receiver.got] == [("POST", "/in?a=%7Eb")]
