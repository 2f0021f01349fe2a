"""Setting the scene: the register, the movements, the sample people, the schools' systems and their agents."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from commonroom import declarations, identity, portal, simulation
from commonroom.hub import agreements, assurance, directory, movement_register, movements
from commonroom.hub.agreements import Actor, Proposal
from commonroom.ids import alias_urn
from commonroom.portal import SamplePerson
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.settings import Settings
from commonroom.simulation import RegisterRow, School

Say = Callable[[str], None]

MOVEMENTS = Path(simulation.__file__).parent / "movements.yaml"
PROPOSAL = Path(__file__).parent / "proposal.yaml"
CONFIG = "agent.yaml"
ENROLMENT_TIME = timedelta(days=30)
# Somebody outside who asks for extracts, with evidence up to what a pseudonymised one needs.
UNIVERSITY = directory.Party(
    "urn:commonroom:org:00000000-0000-4000-8000-000000000017",
    "University (sample)",
    ("research organisation",),
)
# Sample people exist in demo mode only, which listens on this machine's own address.
PASSWORD = "common-room"  # noqa: S105


async def load_register(pool: asyncpg.Pool, files: Sequence[Path], say: Say) -> None:
    """Load the register's files and publish them, with the movements, into the hub."""
    async with pool.acquire() as connection:
        await providers.ensure_platform(connection)
        for file in files:
            report = await providers.load_file(connection, file)
            if report.schools:
                say(f"{report.schools:,} schools of {report.authorities} local authorities in the register")
        await providers.publish_to_directory(connection)
        await assurance.record_for_kinds(
            connection,
            ["school", "local authority", "academy trust"],
            "restricted",
            kind="demo",
            reference="demo county",
            valid_from=date(2000, 1, 1),
            valid_to=date(2199, 12, 31),
            by="commonroom demo",
        )
        await _add_university(connection)
        loaded = await movements.load_movements(connection, MOVEMENTS)
        say(f"{len(loaded.new) + len(loaded.unchanged)} movements agreed")
        await _propose(connection)


async def _add_university(connection: Any) -> None:
    """A research organisation in the directory, with its evidence; safe to repeat."""
    await directory.publish(connection, [UNIVERSITY], [], [])
    await assurance.record(
        connection,
        [UNIVERSITY.urn],
        "confidential",
        kind="demo",
        reference="demo university",
        valid_from=date(2000, 1, 1),
        valid_to=date(2199, 12, 31),
        by="commonroom demo",
        where_none=True,
    )


async def _propose(connection: Any) -> None:
    """Put a movement before the governance group, once."""
    proposal = declarations.load(PROPOSAL, Proposal)
    if await movement_register.registered(connection, proposal.movement.id) is None:
        await agreements.propose(connection, Actor(role="operator", name="commonroom demo"), proposal)


async def add_sample_people(pool: asyncpg.Pool, settings: Settings, schools: Sequence[School]) -> None:
    """One person of each role; school and authority are those of the county's largest school."""
    largest = max(schools, key=lambda school: (school.pupils, school.urn))
    async with pool.acquire() as connection:
        parties = await directory.resolve_aliases(
            connection, [alias_urn("urn", largest.urn), alias_urn("la", largest.la_code)]
        )
        school, authority = parties[alias_urn("urn", largest.urn)], parties[alias_urn("la", largest.la_code)]
        people = [
            _person("school", f"Office of {largest.name}", "its messages and their fate", school),
            _person("authority", f"Data team of {largest.la_name}", "its schools", authority),
            _person("operator", "Hub operator", "the hub's traffic"),
            _person("clerk", "Clerk of the learner register", "learners who may be one person"),
            _person("governance", "Data governance group", "the movements, with a vote"),
            _person("analyst", "Department analyst", "the published figures"),
            _person("researcher", "A researcher", "the extracts of a university", UNIVERSITY.urn),
        ]
        await portal.add_sample_people(connection, settings, people)


def _person(role: identity.Role, name: str, sees: str, party: str | None = None) -> SamplePerson:
    return SamplePerson(username=role, password=PASSWORD, role=role, name=name, sees=sees, party=party)


async def write_agents(pool: asyncpg.Pool, settings: Settings, schools: Sequence[School]) -> int:
    """A configuration for every school and authority, with a one-time code where it has none; how many there are."""
    authorities = {school.la_code: school.la_name for school in schools}
    agents = {alias_urn("urn", school.urn): _school_agent(settings, school) for school in schools}
    agents |= {
        alias_urn("la", code): _authority_agent(settings, code, name) for code, name in authorities.items()
    }
    codes = {alias: code for alias, agent in agents.items() if (code := _code_in(agent.folder))}
    codes |= await _issue_codes(pool, sorted(set(agents) - set(codes)))
    for alias, agent in agents.items():
        _write_config(agent.folder, f"{agent.text}enrolment_code: {codes[alias]}\n")
    return len(agents)


async def _issue_codes(pool: asyncpg.Pool, aliases: list[str]) -> dict[str, str]:
    async with pool.acquire() as connection:
        parties = await directory.resolve_aliases(connection, aliases)
        if unknown := sorted(set(aliases) - set(parties)):
            raise Problem("CR-005", f"not in the register: {', '.join(unknown)}", where="the hub's directory")
        codes = await identity.issue_enrolment_codes(
            connection, [parties[alias] for alias in aliases], "commonroom demo", ENROLMENT_TIME
        )
    return dict(zip(aliases, codes, strict=True))


def _code_in(folder: Path) -> str | None:
    """The code an earlier start wrote; ports and paths may have changed since, the enrolment has not."""
    try:
        found = re.search(r"^enrolment_code: (\S+)$", (folder / CONFIG).read_text("utf-8"), re.M)
    except FileNotFoundError:
        return None
    return found.group(1) if found else None


class _Agent(msgspec.Struct, frozen=True):
    folder: Path
    text: str


def _school_agent(settings: Settings, school: School) -> _Agent:
    database = simulation.school_database(settings.folder("schools"), school.urn)
    return _Agent(
        settings.folder("agents") / school.urn,
        f'name: "{school.name}"\n'
        f"hub: {settings.hub_url}\n"
        "folder: .\n"
        f'school: "{school.urn}"\n'
        "look_every_seconds: 1\n"
        f'source: {{url: "sqlite:///{database}", mapping: "{simulation.source_mapping(school.system)}"}}\n'
        f'store: {{url: "sqlite:///{database}", mapping: "{simulation.store_mapping(school.system)}"}}\n',
    )


def _authority_agent(settings: Settings, code: str, name: str) -> _Agent:
    database = simulation.authority_database(settings.folder("schools"), code)
    return _Agent(
        settings.folder("agents") / f"la-{code}",
        f'name: "{name}"\n'
        f"hub: {settings.hub_url}\n"
        "folder: .\n"
        f'store: {{url: "sqlite:///{database}", mapping: "{simulation.authority_store_mapping()}"}}\n',
    )


def _write_config(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{CONFIG}.new"
    new.touch(mode=0o600)
    new.write_text(text, "utf-8")
    new.replace(folder / CONFIG)


async def real_schools(pool: asyncpg.Pool, la_code: str, pupils: int) -> tuple[School, ...]:
    """The open schools of one real local authority, out of the loaded register, with invented pupils."""
    async with pool.acquire() as connection:
        summaries = await providers.schools_of_authority(connection, la_code)
    rows = [RegisterRow(**row) for row in summaries]
    return simulation.schools_of_register(rows, la_code, pupils)
