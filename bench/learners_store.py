"""How fast the learner register's store answers: single look-ups, registrations and chunks, through our own code.

    .venv/bin/python bench/learners_store.py [PERSONS] [--seconds N] [--json FILE]

A population is made with a fixed seed (names by their frequencies in the United Kingdom, households, siblings, twins, moves)
and loaded by COPY into a server of its own with the settings of a real one. `over_http` asks a portal process. Half of the
look-ups are of people who are registered, a third of those with a slip or after a move. The event loop is the portal's.
`cpu_ms` is what a look-up costs in our processes and in PostgreSQL's, which a busy machine distorts less than its times.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from learners_bench import over_http

from commonroom.engines.database import connect, migrate
from commonroom.engines.postgres import LocalServer
from commonroom.ids import uuid7
from commonroom.registers.learners import matching, store, upkeep
from commonroom.registers.learners.matching import Details
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller, Registration, persons
from commonroom.settings import Settings

NAMES = Path(matching.__file__).parent / "names.csv"
SEED = 20_240_901
BORN = (1996, 2011)
CHUNK = 20_000
WHO = Caller(party="urn:commonroom:org:bench", person=None, purpose="enrolment", role="college")
CLIENTS = 4  # of a process
PROCESSES = 2
SAME = 8


class Names:
    """Names with how often they are borne."""

    def __init__(self) -> None:
        found: dict[str, tuple[list[str], list[float]]] = {"given": ([], []), "family": ([], [])}
        with NAMES.open(encoding="utf-8", newline="") as file:
            for kind, name, bearers in csv.reader(line for line in file if not line.startswith("#")):
                if kind in found:
                    found[kind][0].append(name.title())
                    found[kind][1].append(float(bearers))
        self.given, self.family = found["given"], found["family"]


def population(count: int, seed: int) -> Iterator[Details]:
    """People of households: siblings share name and home, one birth in sixty is of twins."""
    dice, names = random.Random(seed), Names()  # noqa: S311
    families = iter(dice.choices(*names.family, k=count))
    given = iter(dice.choices(*names.given, k=count + 10))
    areas = [f"{a}{b}{n}" for a in "ABCDEGHL" for b in "ABDHLNS" for n in range(1, 30)]
    made = 0
    while made < count:
        family, home = (
            next(families),
            f"{dice.choice(areas)} {dice.randrange(10)}{dice.choice('ABDEFGHJLNP')}{dice.choice('ABDEFGHJLNP')}",
        )
        birth = None
        for _ in range(dice.choice((1, 1, 2, 2, 2, 3))):
            if birth is None or dice.random() > 1 / 60:
                year, month, day = dice.randrange(*BORN), dice.randrange(1, 13), dice.randrange(1, 29)
                birth = f"{year}-{month:02}-{day:02}" if dice.random() > 0.01 else f"{year}-01-01"
            yield Details(
                given_name=next(given),
                family_name=family,
                date_of_birth=birth,
                gender=dice.choice("12"),
                postcode=home if dice.random() > 0.035 else None,
            )
            made += 1
            if made == count:
                return


def altered(one: Details, dice: random.Random) -> Details:
    """The same person as somebody else writes him down."""
    change = dice.randrange(4)
    if change == 0:
        return msgspec.structs.replace(one, postcode=f"ZE{dice.randrange(1, 4)} {dice.randrange(10)}QQ")
    if change == 1 and len(one.given_name) > 3:
        place = dice.randrange(1, len(one.given_name) - 1)
        return msgspec.structs.replace(one, given_name=one.given_name[:place] + one.given_name[place + 1 :])
    if change == 2:
        year, month, day = one.date_of_birth.split("-")
        return msgspec.structs.replace(
            one, date_of_birth=f"{year}-{day if int(day) < 13 else month}-{month if int(day) < 13 else day}"
        )
    return msgspec.structs.replace(one, family_name=one.family_name.upper())


async def load(conn: Any, numbers: Numbers, count: int) -> list[Details]:
    """The population, by COPY; a sample of it."""
    await conn.execute("ALTER TABLE learners.block DROP CONSTRAINT block_pkey")
    now = await conn.fetchval("SELECT engines.domain_now()")
    people, sample, done = population(count, SEED), list[Details](), 0
    while chunk := list(islice(people, CHUNK)):
        ulns = await numbers.draw(conn, len(chunk))
        await _copy(conn, chunk, ulns, now)
        sample += chunk[:: max(1, count // 20_000)]
        done += len(chunk)
        if done % 100_000 == 0:
            print(f"{done:,} persons", file=sys.stderr, flush=True)
    await conn.execute("ALTER TABLE learners.block ADD PRIMARY KEY (key, person)")
    await conn.execute("VACUUM ANALYZE")
    return sample


async def _copy(conn: Any, chunk: Sequence[Details], ulns: Sequence[str], now: Any) -> None:
    rows: dict[str, list[tuple[Any, ...]]] = {
        name: [] for name in ("learner", "registration", "identity_link", "uln", "person", "block")
    }
    for details, uln in zip(chunk, ulns, strict=True):
        id, sent = uuid7(), _json(_registration(details))
        said = persons.Said(kind="registration", party=WHO.party, at=now, sent=sent)
        made = persons.project(id, [said])
        blocks = persons.block_hashes(made.known)
        rows["learner"].append((id, now))
        rows["registration"].append((id, "registration", WHO.party, "enrolment", sent, now))
        rows["identity_link"].append((id, id, "rule", "first", now))
        rows["uln"].append((uln, id, "active", now))
        rows["person"].append(
            (id, uln, 1, _json(made.known), _json(made.more), [WHO.party], blocks, now, now)
        )
        rows["block"] += [(key, id) for key in blocks]
    for name, columns in COLUMNS.items():
        await conn.copy_records_to_table(name, schema_name="learners", records=rows[name], columns=columns)


COLUMNS = {
    "learner": ["id", "recorded_at"],
    "registration": ["id", "kind", "party", "purpose", "sent", "at"],
    "identity_link": ["registration", "person", "decided_by", "holds_by", "at"],
    "uln": ["number", "person", "status", "issued_at"],
    "person": [
        "id",
        "uln",
        "version",
        "known",
        "more",
        "registered_by",
        "blocks",
        "created_at",
        "updated_at",
    ],
    "block": ["key", "person"],
}


async def single(
    settings: Settings, queries: Sequence[Details], clients: int, seconds: float
) -> dict[str, Any]:
    """Look-ups one after the other on each of so many connections."""
    taken, codes, backends = list[float](), dict[str, int](), dict[int, float]()
    until, cpu = time.perf_counter() + seconds, time.process_time()

    async def client(number: int) -> None:
        conn = await connect(settings)
        backend = await conn.fetchval("SELECT pg_backend_pid()")
        before = _cpu_of(backend)
        place = number
        while (began := time.perf_counter()) < until:
            found = await store.find(conn, WHO, queries[place % len(queries)])
            taken.append(time.perf_counter() - began)
            codes[found.code] = codes.get(found.code, 0) + 1
            place += clients
        backends[backend] = _cpu_of(backend) - before
        await conn.close()

    began = time.perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    whole = time.perf_counter() - began
    return {
        "clients": clients,
        "a_second": round(len(taken) / whole),
        **_percentiles(taken),
        "cpu_ms": {
            "ours": round(1000 * (time.process_time() - cpu) / len(taken), 3),
            "postgres": round(1000 * sum(backends.values()) / len(taken), 3),
        },
        "codes": codes,
        "taken": taken,
    }


def in_processes(settings: Settings, queries: Sequence[Details], seconds: float) -> dict[str, Any]:
    """The same from several processes at once, as portal processes would ask."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        started = [
            pool.submit(_one_process, settings, queries[number::PROCESSES], seconds)
            for number in range(PROCESSES)
        ]
        found = [one.result() for one in started]
    taken = [each for one in found for each in one["taken"]]
    return {
        "processes": PROCESSES,
        "clients": CLIENTS * PROCESSES,
        "a_second": sum(one["a_second"] for one in found),
        **_percentiles(taken),
        "cpu_ms": {
            whose: round(sum(one["cpu_ms"][whose] for one in found) / PROCESSES, 3)
            for whose in ("ours", "postgres")
        },
    }


def _one_process(settings: Settings, queries: Sequence[Details], seconds: float) -> dict[str, Any]:
    uvloop.run(single(settings, queries, CLIENTS, 1))  # plans, caches and name counts get warm
    return uvloop.run(single(settings, queries, CLIENTS, seconds))


def _cpu_of(process: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def registering(settings: Settings, numbers: Numbers, new: Sequence[Details]) -> dict[str, Any]:
    """Registrations one by one, then as many in chunks of 1,000."""
    conn = await connect(settings)
    half, taken = len(new) // 2, list[float]()
    for details in new[: min(half, 500)]:
        began = time.perf_counter()
        await store.register(conn, WHO, _registration(details), numbers)
        taken.append(time.perf_counter() - began)
    began, cpu, codes = time.perf_counter(), time.process_time(), dict[str, int]()
    for start in range(half, len(new), 1_000):
        for one in await store.register_many(
            conn, WHO, [_registration(d) for d in new[start : start + 1_000]], numbers
        ):
            codes[one.code] = codes.get(one.code, 0) + 1
    whole = time.perf_counter() - began
    await conn.close()
    return {
        "single": _percentiles(taken),
        "chunks": {
            "a_second": round((len(new) - half) / whole),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "codes": codes,
        },
    }


async def simultaneous(settings: Settings, numbers: Numbers, new: Sequence[Details]) -> dict[str, Any]:
    """The same new people from eight clients at once, in eight orders: how many of them got two numbers."""
    given: dict[Details, set[str]] = {one: set() for one in new}

    async def client(number: int) -> None:
        conn = await connect(settings)
        start = len(new) * number // SAME
        order = [*new[start:], *new[:start]] if number % 2 else [*reversed(new)]
        for details in order:
            answer = await store.register(conn, WHO, _registration(details), numbers)
            if answer.uln is not None:
                given[details].add(answer.uln)
        await conn.close()

    began = time.perf_counter()
    await asyncio.gather(*map(client, range(SAME)))
    return {
        "clients": SAME,
        "people": len(new),
        "a_second": round(SAME * len(new) / (time.perf_counter() - began)),
        "with_two_numbers": sum(len(ulns) > 1 for ulns in given.values()),
        "with_a_number": sum(len(ulns) == 1 for ulns in given.values()),
    }


async def run(settings: Settings, count: int, seconds: float) -> dict[str, Any]:
    numbers, dice = Numbers.of(settings), random.Random(SEED + 1)  # noqa: S311
    conn = await connect(settings)
    began = time.perf_counter()
    sample = await load(conn, numbers, count)
    loaded = time.perf_counter() - began
    size = await conn.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
    await conn.close()
    strangers = list(population(len(sample), SEED + 2))
    known = [altered(one, dice) if dice.random() < 1 / 3 else one for one in sample]
    queries = [one for pair in zip(known, strangers, strict=True) for one in pair]
    dice.shuffle(queries)
    conn = await connect(settings)
    counted = await store.count_names(conn, upkeep.ITSELF)
    await conn.close()
    await single(settings, queries, 1, 1)  # plans and pages get warm
    one = await single(settings, queries, 1, seconds)
    several = await single(settings, queries, CLIENTS, seconds)
    processes = await asyncio.to_thread(in_processes, settings, queries, seconds)
    for each in (one, several):
        del each["taken"]
    rate, taken, statuses = await over_http.measured(settings, queries, CLIENTS, seconds)
    http = {"clients": CLIENTS, "a_second": round(rate), **_percentiles(taken), "statuses": statuses}
    return {
        "persons": count,
        "load_seconds": round(loaded),
        "database": size,
        "names": msgspec.structs.asdict(counted),
        "one": one,
        "several": several,
        "processes": processes,
        "over_http": http,
        "register": await registering(settings, numbers, list(population(6_000, SEED + 3))),
        "simultaneous": await simultaneous(settings, numbers, list(population(500, SEED + 4))),
    }


def _registration(details: Details) -> Registration:
    return Registration(details=details, verification_type="1", ability_to_share="1")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        f"p{share}_ms": round(1000 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 2)
        for share in (50, 95, 99)
    }


def main() -> None:
    """Load, measure, print."""
    said = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said.add_argument("persons", type=int, nargs="?", default=1_000_000)
    said.add_argument("--seconds", type=float, default=20)
    said.add_argument("--json", type=Path)
    chosen = said.parse_args()
    with tempfile.TemporaryDirectory(prefix="commonroom-learners-") as folder:
        server = LocalServer(Path(folder) / "postgres", options={"shared_buffers": "512MB"})
        server.start()
        try:
            settings = Settings(data=Path(folder), database=server.dsn)
            migrate(settings)
            found = uvloop.run(run(settings, chosen.persons, chosen.seconds))
        finally:
            server.stop()
    print(json.dumps(found, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + os.linesep, encoding="utf-8")


if __name__ == "__main__":
    main()
