"""Keys of end points change while they work: both keys hold for a while, a kill breaks nothing, an end counts at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from commonroom.exchange import Client, keys
from commonroom.exchange.client import SignInRefused
from commonroom.identity import revoke
from commonroom.problems import Problem
from tests.hub_server import message
from tests.unit.hub.conftest import Town

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from commonroom.exchange import Client
from commonroom.exchange.key_file import KeyFile
from commonroom.exchange.own_keys import OwnKeys

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

step, hub, key, end_point = sys.argv[1:]
holder, name = {
    "before the new key": (KeyFile, "make_next"),
    "before the hub knows it": (OwnKeys, "_register"),
    "before it takes the old one's place": (KeyFile, "promote"),
    "before the old one ends": (OwnKeys, "retire"),
}[step]
setattr(holder, name, die)

async def main():
    async with Client(hub, Path(key), end_point) as client:
        await client.rotate_key(retire_old=True)

asyncio.run(main())
"""
STEPS = (
    "before the new key",
    "before the hub knows it",
    "before it takes the old one's place",
    "before the old one ends",
)


def key_path(client: Client) -> Path:
    return client._keys.file.path


async def killed_at(step: str, town: Town) -> None:
    """Kill a process with signal 9 at this step of changing the school's key."""
    arguments = (step, town.url, str(key_path(town.school)), town.school.end_point)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, *arguments, env=dict(os.environ)
    )
    assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL


async def posts(client: Client, town: Town) -> bool:
    return bool((await client.post(*message(town.county))).recipients)


async def refused_within_a_second(client: Client) -> bool:
    """Whether the token that the client holds stops working, without a new sign-in; asked every 50 ms for 2 s."""
    token = client._token
    for _ in range(40):
        answer = await client._http.get(
            f"{client.hub_url}/movements", headers={"authorization": f"Bearer {token}"}
        )
        if answer.status_code == 401:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_both_keys_work_until_the_old_one_is_retired_and_then_its_tokens_die_at_once(
    town: Town,
) -> None:
    old = town.school._keys.file.current()
    old_copy = town.folder / "old.pem"
    old_copy.write_bytes(key_path(town.school).read_bytes())
    async with Client(town.url, old_copy, town.school.end_point) as yesterday:
        new = await town.school.rotate_key()
        assert new == town.school._keys.file.current().kid != old.kid
        assert await posts(town.school, town)
        assert await posts(yesterday, town)
        listed = {key.kid: key.valid_until for key in (await town.school.keys_of(town.county.school)).keys}
        assert listed[new] is None
        assert listed[old.kid] is not None
        await town.school.retire_key(old.kid)
        assert await refused_within_a_second(yesterday)
        with pytest.raises(SignInRefused):
            await posts(yesterday, town)
    assert await posts(town.school, town)


async def test_a_client_that_is_running_takes_up_the_key_that_another_process_has_made(town: Town) -> None:
    assert await posts(town.school, town)
    async with Client(town.url, key_path(town.school), town.school.end_point) as command_line:
        await command_line.rotate_key(retire_old=True)
    assert await posts(town.school, town)


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_at_any_step_leaves_an_end_point_that_signs_in_and_can_finish_the_change(
    town: Town, step: str
) -> None:
    before = town.school._keys.file.current().kid
    await killed_at(step, town)
    async with Client(town.url, key_path(town.school), town.school.end_point) as again:
        assert await posts(again, town)
        new = await again.rotate_key(retire_old=True)
        assert new != before
        assert await posts(again, town)
    assert not key_path(town.school).with_name(f"{key_path(town.school).name}.next").exists()


async def test_a_change_cut_off_for_longer_than_the_overlap_still_signs_in_with_the_new_key(
    town: Town,
) -> None:
    old = town.school._keys.file.current().kid
    await killed_at("before it takes the old one's place", town)
    async with town.pool.acquire() as connection:
        await connection.execute(
            "UPDATE identity.end_point_key SET valid_until = clock_timestamp() WHERE kid = $1", old
        )
    async with Client(town.url, key_path(town.school), town.school.end_point) as again:
        assert await posts(again, town)
        assert again._keys.file.current().kid != old


async def test_the_last_key_cannot_be_retired_and_a_retired_one_does_not_come_back(town: Town) -> None:
    old = town.school._keys.file.current()
    with pytest.raises(Problem, match="last key"):
        await town.school.retire_key(old.kid)
    await town.school.rotate_key(retire_old=True)
    proofs = [town.school._keys.file.current().key, old.key]
    with pytest.raises(Problem, match="has been retired"):
        await town.school._keys._register("sig", old.key, proofs)
    with pytest.raises(Problem, match="no such key"):
        await town.school.retire_key("unknown")


async def test_a_new_key_needs_the_proof_of_a_valid_key_and_its_own(town: Town) -> None:
    current, new, stranger = (
        town.school._keys.file.current().key,
        OKPKey.generate_key("Ed25519"),
        OKPKey.generate_key("Ed25519"),
    )
    wrong: list[list[OKPKey]] = [[current], [new], [stranger, new], [current, stranger]]
    for vouching in wrong:
        with pytest.raises(Problem) as refused:
            await town.school._keys._register("sig", new, vouching)
        assert refused.value.code == "CR-158"
    # A sign-in is no proof, and a proof is no sign-in.
    assertion = keys.sign_assertion(current, town.school.end_point, town.url)
    request = {"use": "sig", "jwk": keys.public_jwk(new), "proofs": [assertion]}
    answer = await town.school._http.post(
        f"{town.url}/end-points/self/keys",
        json=request,
        headers={"authorization": f"Bearer {await town.school._current_token()}"},
    )
    assert answer.status_code == 403
    proof = keys.sign_key_proof(current, town.school.end_point, town.url, "kid")
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": proof,
    }
    assert (await town.school._http.post(f"{town.url}/token", data=form)).status_code == 401


async def test_a_revoked_end_points_token_stops_working_at_once_also_in_a_poll_that_waits(town: Town) -> None:
    assert await town.authority.pull(wait=0) == []
    waiting: asyncio.Task[Any] = asyncio.create_task(town.authority.pull(wait=30))
    await asyncio.sleep(0)
    async with town.pool.acquire() as connection:
        await revoke(connection, town.authority.end_point, "test")
    assert await refused_within_a_second(town.authority)
    await posts(town.school, town)  # wakes the poll
    with pytest.raises(SignInRefused):
        await asyncio.wait_for(waiting, 20)
