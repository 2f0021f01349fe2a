"""Setting the sandbox up in its data folder: invented parties, movements, evidence, partners' codes, the newcomer."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from commonroom import hub, identity, simulation
from commonroom import settings as settings_module
from commonroom.ids import alias_urn
from commonroom.problems import Problem, add_codes
from commonroom.registers import providers
from commonroom.sandbox.partners import PARTNERS, folder_of
from commonroom.settings import Settings
from commonroom.supervisor import free_port

add_codes(
    {
        "CR-170": "The data folder is no sandbox",
        "CR-171": "The fault cannot be made",
        "CR-172": "The end point cannot be examined",
    }
)

DEFAULT_DATA = Path("commonroom-sandbox")
MARK = "sandbox.json"
NEWCOMER = alias_urn("urn", "990001")
MOVEMENTS = Path(__file__).parent / "movements.yaml"
DEMO_MOVEMENTS = Path(simulation.__file__).parent / "movements.yaml"
CODE_TIME = timedelta(days=7)
KINDS = ("school", "local authority", "academy trust")


class Newcomer(msgspec.Struct, frozen=True):
    """What somebody needs to connect an end point."""

    hub: str
    party: str  # urn
    alias: str
    name: str
    code: str  # works once, for a week


def new_folder(data: Path, port: int | None) -> Settings:
    """Settings of a sandbox in this folder, which is new or a sandbox already; its hub listens on `port` when it is free.

    Raises Problem CR-170 when the folder holds anything else, and CR-006 when it is a production system.
    """
    chosen = settings_module.load(data)
    if chosen.mode != "demo":
        raise Problem("CR-006", "this data folder is a production system", where=str(chosen.data), status=403)
    if chosen.data.exists() and any(chosen.data.iterdir()) and not (chosen.data / MARK).exists():
        raise _no_sandbox(chosen.data)
    hub_port = free_port(port or chosen.hub_port)
    chosen.data.mkdir(parents=True, exist_ok=True)
    (chosen.data / MARK).touch()
    return msgspec.structs.replace(
        chosen, hub_port=hub_port, portal_port=free_port(chosen.portal_port, hub_port)
    )


def open_folder(data: Path) -> Settings:
    """Settings of a sandbox that is there. Raises Problem CR-170 when there is none."""
    chosen = settings_module.load(data)
    if chosen.mode != "demo" or not (chosen.data / MARK).exists():
        raise _no_sandbox(chosen.data)
    return chosen


async def prepare(connection: Any, settings: Settings) -> None:
    """Parties, evidence, movements, codes for the partners; what an earlier start did is left."""
    await providers.ensure_platform(connection)
    for file in (simulation.REGISTER, simulation.GROUP_LINKS):
        await providers.load_file(connection, file)
    await providers.publish_to_directory(connection)
    await hub.assurance.record_for_kinds(
        connection,
        list(KINDS),
        "restricted",
        kind="sandbox",
        reference="invented parties of a sandbox",
        valid_from=date(2000, 1, 1),
        valid_to=date(2199, 12, 31),
        by="commonroom sandbox",
    )
    for movements in (DEMO_MOVEMENTS, MOVEMENTS):
        await hub.load_movements(connection, movements)
    for partner in PARTNERS:
        file = folder_of(settings, partner) / "code"
        if not file.exists():
            party = await party_of(connection, partner.party)
            new = file.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_text(await _issue(connection, party), "ascii")
            new.replace(file)


async def newcomer(connection: Any, settings: Settings, alias: str = NEWCOMER) -> Newcomer:
    """A new one-time code for an end point of this party."""
    party = await party_of(connection, alias)
    code = await _issue(connection, party)
    name = await connection.fetchval("SELECT name FROM hub.party WHERE urn = $1", party)
    return Newcomer(settings.hub_url, party, alias, name, code)


async def party_of(connection: Any, alias: str) -> str:
    """The urn of a party. Raises Problem CR-041 when nobody has this name."""
    found = await hub.resolve_alias(connection, alias)
    if found is None:
        raise Problem("CR-041", f"{alias} is not in the directory.", status=404, where="PARTY")
    return found


async def _issue(connection: Any, party: str) -> str:
    return await identity.issue_enrolment_code(connection, party, "commonroom sandbox", CODE_TIME)


def _no_sandbox(folder: Path) -> Problem:
    return Problem(
        "CR-170",
        "something else lives in this folder, or nothing",
        where=str(folder),
        remedy="Start one with `commonroom sandbox --data FOLDER`, in a folder of its own.",
    )
