"""An extract in words and tables: where it stands, what it holds, who protects it how well, its steps and its files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from commonroom import standard
from commonroom.hub.assurance import Evidence
from commonroom.portal import words
from commonroom.portal.page import Fact
from commonroom.portal.tables import Column, Table
from commonroom.warehouse.extracts.model import Declaration
from commonroom.warehouse.extracts.office import Extract, Step
from commonroom.warehouse.extracts.packing import File

STATES = {
    "requested": "Waiting for a decision",
    "refused": "Refused",
    "approved": "Approved",
    "frozen": "Made",
    "expired": "Over",
}


def in_words(found: Extract, today: date) -> str:
    """Where it stands, and what comes next."""
    asked = found.declaration
    match found.state:
        case "requested":
            return "It waits for the decision of the data governance group."
        case "refused":
            return "It was refused: the reason stands below."
        case "approved" if today < asked.checking_from:
            return f"It is approved, and can be checked from {words.day(asked.checking_from)}."
        case "approved" if today < asked.freeze_on:
            return f"It can be checked now. On {words.day(asked.freeze_on)} it is made for good."
        case "approved":
            return "Its day has come: the operator makes the copy now."
        case "frozen" if today <= asked.expires_on:
            return f"It is made. Its files can be taken until {words.day(asked.expires_on)}."
    return f"It ended on {words.day(asked.expires_on)}. Its files are gone; what it was stays on record."


def contents(asked: Declaration) -> Table:
    """What it holds."""
    entities = standard.load().entities
    return Table(
        name="contents",
        title="What it holds",
        columns=(Column("entity", "Records"), Column("items", "Items"), Column("rows", "Rows")),
        rows=tuple(
            (
                entities[table.entity].title if table.entity in entities else table.entity,
                ", ".join(item.replace("_", " ") for item in table.items),
                f"as on {words.day(table.on)}"
                if table.on
                else f"begun from {words.day(table.first or date.min)} to {words.day(table.last or date.max)}",
            )
            for table in asked.tables
        ),
    )


def evidence(found: Sequence[Evidence]) -> Table:
    """The dated evidence of the requester's protection, as the hub has it."""
    return Table(
        name="evidence",
        title="Evidence of protection on record",
        columns=(
            Column("level", "Up to"),
            Column("kind", "What"),
            Column("reference", "Where"),
            Column("valid_from", "First day", "date"),
            Column("valid_to", "Last day", "date"),
            Column("ended_on", "Ended", "date"),
        ),
        rows=tuple(
            (one.level, one.kind, one.reference, one.valid_from, one.valid_to, one.ended_on) for one in found
        ),
        note="It must hold on the day of approval, on the day it is made, and whenever a file is taken.",
        empty="None. The operator of the hub records it.",
    )


def steps(found: Sequence[Step]) -> Table:
    """What happened, the newest first; who took a step by role."""
    return Table(
        name="steps",
        title="Steps",
        columns=(
            Column("at", "When", "time"),
            Column("step", "What happened"),
            Column("who", "Who"),
            Column("why", "Why"),
        ),
        rows=tuple(
            (one.at, one.step.capitalize(), one.who.partition(" ")[0], one.why) for one in reversed(found)
        ),
    )


def files(name: str, title: str, found: Sequence[File]) -> Table:
    """Files with their hashes."""
    return Table(
        name=name,
        title=title,
        columns=(
            Column("file", "File"),
            Column("rows", "Rows", "number"),
            Column("size", "Bytes", "number"),
            Column("sha256", "SHA-256", "hash"),
        ),
        rows=tuple((one.name, one.rows, one.size, one.sha256) for one in found),
        note="The columns of each file stand in manifest.json." if name == "files" else "",
    )


def proof(found: Extract) -> tuple[Fact, ...]:
    """What its manifest says of it as a whole."""
    if found.manifest is None:
        return ()
    return (
        Fact("known_at", "As known at", found.manifest.known_at),
        Fact("standard", "Version of the standard", found.manifest.standard),
        Fact("declaration", "SHA-256 of the request", found.manifest.declaration),
    )
