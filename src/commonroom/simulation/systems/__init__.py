"""What the programs of the three makers do when a clerk or teacher uses them: write their own tables.

One module for each maker. The mappings under vendors/ read these tables; nothing here knows them or the standard's
names for things.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from commonroom.simulation.intakes import Intake
from commonroom.simulation.population import Pupil
from commonroom.simulation.schools import School
from commonroom.simulation.systems import chalkstone, inkwell, tallybook
from commonroom.simulation.year import SchoolDay

VENDORS = Path(__file__).parent.parent / "vendors"


class System(Protocol):
    """One maker's program. All act inside the caller's transaction."""

    def open_school(self, connection: sqlite3.Connection, school: School, pupils: Sequence[Pupil]) -> None:
        """Enter the school and everyone on its roll into empty tables."""
        ...

    def announce(self, connection: sqlite3.Connection, intakes: Sequence[Intake]) -> None:
        """Enter how many pupils the school will admit."""
        ...

    def enter_day(self, connection: sqlite3.Connection, day: SchoolDay) -> None:
        """Enter all that happened on a day."""
        ...


SYSTEMS: dict[str, System] = {
    "tallybook": tallybook.Tallybook(),
    "inkwell": inkwell.Inkwell(),
    "chalkstone": chalkstone.Chalkstone(),
}


def schema(system: str) -> str:
    """The maker's CREATE statements."""
    return (VENDORS / system / "schema.sql").read_text("utf-8")
