"""People for the tests of the store, and a caller of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from commonroom.engines.database import connect
from commonroom.engines.postgres import LocalServer
from commonroom.registers.learners.matching import Details
from commonroom.registers.learners.store import Caller, Registration
from commonroom.settings import Settings


# A database costs most of a second, so the tests of a file share one, and each leaves it as it was.
def one_database(
    postgres: LocalServer, template: str, tmp_path_factory: Any, name: str
) -> Iterator[Settings]:
    """A fresh database for a test file."""
    base = postgres.dsn.rsplit("/", 1)[0]
    with psycopg.connect(f"{base}/postgres", autocommit=True) as maintenance:
        maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield Settings(data=tmp_path_factory.mktemp(name), database=f"{base}/{name}")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as maintenance:
        maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def undone(settings: Settings) -> AsyncIterator[Any]:
    """A connection in a transaction that is undone at the end."""
    connection = await connect(settings)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


SCHOOL, OTHER_SCHOOL = "urn:commonroom:org:school", "urn:commonroom:org:other-school"
AUTHORITY, OTHER_AUTHORITY = "urn:commonroom:org:authority", "urn:commonroom:org:other-authority"


def caller(role: str = "school", party: str = SCHOOL, **more: Any) -> Caller:
    """Somebody of this role."""
    return Caller(**{"party": party, "person": None, "purpose": "enrolment", "role": role, **more})


CLERK = caller("clerk", "urn:commonroom:org:register", person="clerk-1", purpose="register_upkeep")
SECOND_CLERK = caller("clerk", "urn:commonroom:org:register", person="clerk-2", purpose="register_upkeep")


def details(**changes: Any) -> Details:
    """Amara Whitfield-Osei, with changes: nobody else is called like her."""
    return Details(
        **{
            "given_name": "Amara",
            "family_name": "Whitfield-Osei",
            "date_of_birth": "2009-03-14",
            "gender": "2",
            "postcode": "LS6 3QT",
            **changes,
        }
    )


def registration(person: Details | None = None, **more: Any) -> Registration:
    """A registration with everything that is mandatory."""
    return Registration(
        **{"details": person or details(), "verification_type": "1", "ability_to_share": "1", **more}
    )


ROWAN = details(
    given_name="Rowan", family_name="Achterberg", date_of_birth="2010-11-02", gender="1", postcode="BD1 4HR"
)
SORCHA = details(
    given_name="Sorcha", family_name="Mulvaney", date_of_birth="2008-07-30", gender="2", postcode="HG2 8NP"
)
