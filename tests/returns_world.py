"""Returns for tests: a small collection of schools (tests/data/collections), files of it, and a small county."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from commonroom.hub import Alias, Party, Relation, publish
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.returns.parties import Actor

COLLECTIONS = Path(__file__).parent / "data" / "collections"
ROLL, YEAR = "roll", 2026
UPNS = ("C823432117001", "B823432117019", "Y823432117027")


class County(msgspec.Struct, frozen=True):
    """Two maintained schools, an academy, their authority, and another authority with a school."""

    school: str
    second: str
    academy: str
    authority: str
    trust: str
    elsewhere: str
    other_authority: str

    def source(self) -> Actor:
        """Somebody of the first school."""
        return Actor(who="somebody of the school", party=self.school)

    def approver(self) -> Actor:
        """Somebody of its authority."""
        return Actor(who="somebody of the authority", party=self.authority)


COLLECTOR = Actor(who="somebody of the department", collector=True)


async def small_county(connection: Any) -> County:
    """Publish the directory of the county."""
    county = County(*(org_urn(uuid7()) for _ in County.__struct_fields__))
    schools = {
        county.school: "990001",
        county.second: "990002",
        county.academy: "990003",
        county.elsewhere: "990004",
    }
    authorities = {county.authority: "823", county.other_authority: "825"}
    await publish(
        connection,
        [
            *(Party(party, f"School {urn}", ("school",)) for party, urn in schools.items()),
            *(Party(party, f"Authority {la}", ("local authority",)) for party, la in authorities.items()),
            Party(county.trust, "A trust", ("academy trust",)),
        ],
        [
            *(Alias(alias_urn("urn", urn), party) for party, urn in schools.items()),
            *(Alias(alias_urn("la", la), party) for party, la in authorities.items()),
        ],
        [
            Relation(county.school, "its local authority", county.authority),
            Relation(county.second, "its local authority", county.authority),
            Relation(county.academy, "its local authority", county.authority),
            Relation(county.academy, "its academy trust", county.trust),
            Relation(county.elsewhere, "its local authority", county.other_authority),
        ],
    )
    return county


def pupil(
    upn: str = UPNS[0], *, born: str = "2015-03-01", status: str = "C", leaves: str = "", sex: str = "F"
) -> str:
    """One pupil of a file."""
    leaving = f"<LeavingDate>{leaves}</LeavingDate>" if leaves else ""
    return (
        f"<Pupil><UPN>{escape(upn)}</UPN><Surname>Ash</Surname><Forename>Robin</Forename><BornOn>{born}</BornOn>"
        f"<Sex>{sex}</Sex><FSM>0</FSM><Stay><EntryDate>2025-09-02</EntryDate><Status>{status}</Status>"
        f"<NCyear>5</NCyear>{leaving}</Stay></Pupil>"
    )


def file(folder: Path, *pupils: str, name: str = "roll.xml", year: int = YEAR, urn: str = "990001") -> Path:
    """A file of the small collection."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        f"<Message><Header><CollectionDetails><Collection>ROLL</Collection><Year>{year}</Year></CollectionDetails>"
        f"<Source><URN>{urn}</URN><SoftwareCode>By hand</SoftwareCode></Source></Header>"
        f"<Pupils>{''.join(pupils)}</Pupils></Message>",
        "utf-8",
    )
    return path
