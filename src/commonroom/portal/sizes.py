"""How large an answer of figures may be: anybody asks by address, and each figure is held, encoded and sent at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from commonroom.engines import clock
from commonroom.portal.house import House
from commonroom.problems import Problem, add_codes
from commonroom.warehouse import combinations, spans
from commonroom.warehouse.model import Level
from commonroom.warehouse.organisations import School
from commonroom.warehouse.questions import Question

add_codes({"CR-105": "The address asks for something that is not there"})

MOST_FIGURES = 50_000  # about 16 MB of JSON; every authority's for the days of a school year are 30,000
# So few that nobody need count them; where there are fewer it does no harm.
FEW: dict[Level, int] = {"national": 1, "region": 9}

_CALLED: dict[Level, str] = {"national": "nation"}


async def check(house: House, conn: Any, asked: Question) -> None:
    """Before anything is worked out: raise Problem CR-105 for a question whose answer would be too large."""
    today = await clock.today(conn)
    if asked.units is not None:
        units = len(asked.units)
    elif asked.level in FEW:
        units = FEW[asked.level]
    else:
        units = units_of(asked.level, (await house.warehouse.schools(conn, today)).values())
    need_fewer(asked, units, today)


async def check_known(house: House, conn: Any, asked: Question) -> None:
    """Raise Problem CR-105 (404) naming the units that the register knows neither on the first nor on the last day."""
    unknown, level = set(asked.units or ()), asked.level
    for day in (asked.last, asked.first):
        if unknown:
            schools = (await house.warehouse.schools(conn, day)).values()
            unknown -= {school.group(level)[0] for school in schools}
    if unknown:
        raise Problem(
            "CR-105",
            f"There is no such {_CALLED.get(level, level)}: {', '.join(sorted(unknown))}.",
            status=404,
            remedy="Leave `unit` out to have all there are." if level != "school" else "Look its URN up.",
        )


def units_of(level: Level, schools: Iterable[School]) -> int:
    """How many units a level has."""
    return len({school.group(level)[0] for school in schools} - {None})


def need_fewer(asked: Question, units: int, today: date) -> None:
    """Raise Problem CR-105 where so many units have too many figures, CR-092 where there is no calendar."""
    periods = spans.between(combinations.measure(asked.measure), asked.grain, asked.first, asked.last, today)
    groups = 1 if asked.groups is None else len(asked.groups)
    if units * len(periods) * groups > MOST_FIGURES:
        raise Problem(
            "CR-105",
            f"The answer would have more than {MOST_FIGURES:,} figures.",
            status=400,
            remedy="Ask for fewer units or days, or for a longer `grain`.",
        )
