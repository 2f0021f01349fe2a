"""`verify`: whether the tables hold what the head says, and whether what they hold is possible."""

from __future__ import annotations

import msgspec

from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import tables
from commonroom.warehouse.heads import Head
from commonroom.warehouse.tables import FactTable

# In a slot, at every time at which anything was known of it, one row is live or none.
_TORN_SLOTS = """
SELECT count(*) AS n
FROM (
    SELECT sum(sum(weight)) OVER (PARTITION BY {slot} ORDER BY known_from, known_position) AS live
    FROM facts
    GROUP BY {slot}, known_from, known_position
)
WHERE live NOT IN (0, 1)
"""
# What ends must have begun: of the same items, never more ends than beginnings.
_ENDED_UNBEGUN = """
SELECT count(*) AS n
FROM (SELECT {items}, valid_from FROM facts GROUP BY {items}, valid_from HAVING sum(weight) NOT IN (0, 1))
"""
_WITHOUT_LINEAGE = """
SELECT count(*) AS n FROM facts
WHERE message IS NULL OR sender IS NULL OR known_from IS NULL OR weight NOT IN (-1, 0, 1)
"""
_WITHOUT_LEARNER = "SELECT count(*) AS n FROM facts WHERE learner_id IS NULL AND upn IS NOT NULL"


class Checked(msgspec.Struct, frozen=True):
    """One table, looked through."""

    table: str
    version: int
    rows: int
    faults: list[str]


def verify(settings: Settings, duck: Duck, head: Head) -> list[Checked]:
    """Look through every table of the head. Reads all of it; changes nothing."""
    return [
        _verified(settings, duck, tables.of(entity), version)
        for entity, version in sorted(head.tables.items())
    ]


def _verified(settings: Settings, duck: Duck, table: FactTable, version: int) -> Checked:
    files = delta.files_of(table.folder(settings), version)
    absent, short = delta.missing(table.folder(settings), files)
    rows = sum(file.rows for file in files)
    if absent or short:
        told = {"are not there": absent, "are not as large as the log says": short}
        faults = [f"{number} of {len(files)} files {fault}" for fault, number in told.items() if number]
        return Checked(table.entity, version, rows, faults)
    facts = table.relation([file.path for file in files], [column.name for column in table.columns])
    faults = []
    stored = _count(duck, facts, "SELECT count(*) AS n FROM facts")
    if stored != rows:
        faults.append(f"the log says {rows} rows, the files hold {stored}")
    questions = {
        "facts are live twice, or ended before they began": _TORN_SLOTS.format(
            slot=", ".join([*table.key, "valid_from"])
        ),
        "rows end what never began": _ENDED_UNBEGUN.format(items=", ".join(table.items)),
        "rows lack their message, sender or time": _WITHOUT_LINEAGE,
    }
    if table.names_learner:
        questions["rows lack our key of the learner"] = _WITHOUT_LEARNER
    for fault, question in questions.items():
        if number := _count(duck, facts, question):
            faults.append(f"{number} {fault}")
    return Checked(table.entity, version, rows, faults)


def _count(duck: Duck, facts: str, question: str) -> int:
    (row,) = duck.query(f"WITH facts AS ({facts}) {question}")
    return int(row["n"])
