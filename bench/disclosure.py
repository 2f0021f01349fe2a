"""What is hidden in a nation's figures: the CPU, the memory, and whether anything is given away.

    python bench/disclosure.py                      # absence of 10 authorities beside one: about a minute of CPU
    python bench/disclosure.py --authorities 152    # the nation's term: 21,800 schools, 5.9 million figures
    python bench/disclosure.py --only evenings      # an authority's term released evening by evening
    python bench/disclosure.py --only day           # other parts: day, suspensions, persistent, ethnicity

Each part is worked out by the release's own code from the numbers of schools, and audited: whoever reads all that is shown
tries to work out what is hidden in sampled areas, and in the table above them. Writes test-results/bench_disclosure.json.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disclosure_bench import nation
from disclosure_bench.nation import ETHNICITY, FAMILY, Authority, calendar

from commonroom.warehouse import divisions, measures, publication, suppression
from commonroom.warehouse.memory import Memory, Remembering
from commonroom.warehouse.publication import Calendar, Name, Parts
from commonroom.warehouse.suppression import Table

RESULT = Path(__file__).parents[1] / "test-results" / "bench_disclosure.json"
PARTS = ("absence", "evenings", "day", "suspensions", "persistent", "ethnicity")
TERM = nation.WEEKS * nation.DAYS
GOALS = {"absence_cpu_s_of_a_nation": 600, "peak_mb": 4096, "given_away": 0}


_SLOW = 1.0  # CPU seconds: a table that takes more is told of, so that one sees how far it is


class Watched:
    """The function that hides, with a sample of the tables that it is given."""

    def __init__(self, sample: int) -> None:
        self.kept: list[tuple[Table, frozenset[Any]]] = []
        self._sample, self._seen, self._chance = sample, 0, random.Random(1)  # noqa: S311 - the same sample each time

    def __call__(self, table: Table) -> frozenset[Any]:
        """Hide, and keep some."""
        began = time.process_time()
        chosen = suppression.hide(table)
        self._seen += 1
        spent = time.process_time() - began
        if spent > _SLOW:
            at = f"{time.process_time():.0f} CPU s"
            print(
                f"{at}: table {self._seen}: {len(chosen)} of {len(table.cells)} cells hidden in {spent:.1f} s",
                flush=True,
            )
        place = self._seen - 1 if self._seen <= self._sample else self._chance.randrange(self._seen)
        if chosen and place < self._sample:
            self.kept[place : place + 1] = [(table, chosen)]
        return chosen

    def audit(self) -> dict[str, Any]:
        """How many hidden cells are worked out in the tables kept: with small ones hidden alone, and with all of it."""
        began = time.process_time()
        alone = beside = cells = 0
        for table, chosen in self.kept:
            cells += len(chosen)
            alone += len(suppression.recovered(table, suppression.sensitive_only(table)))
            beside += len(suppression.recovered(table, chosen))
        return {
            "tables": len(self.kept), "hidden_cells": cells, "given_away_without": alone, "given_away": beside,
            "cpu_s": round(time.process_time() - began, 1),
        }  # fmt: skip


def groups_of(authorities: list[Authority]) -> nation.Groups:
    return {urn: of for authority in authorities for urn, of in authority.groups.items()}


def flows(
    authorities: int, days: int, sample: int, draw: Callable[[Authority, int], Any], family: list[Any]
) -> dict[str, Any]:
    """Figures that add up over time."""
    schools = [Authority(number) for number in range(authorities)]
    groups, when, watched = groups_of(schools), calendar(days), Watched(sample)
    numbers: dict[Name, Parts] = {}
    rolled = 0.0
    for one in schools:  # an authority at a time, or the invention would need as much memory again
        mine = dict(draw(one, days))
        began = time.process_time()
        for name, parts in publication.rolled_up(mine, one.groups).items():
            numbers[name] = numbers[name].plus(parts) if name in numbers else parts
        rolled += time.process_time() - began
    began, cpu = time.perf_counter(), time.process_time() - rolled
    hidden = publication.hidden(family, numbers, publication.tree(groups), when, hide=watched)
    return told(numbers, hidden, family, rolled, began, cpu, watched)


def told(
    numbers: dict[Name, Parts], hidden: frozenset[Name], family: list[Any], rolled: float, began: float, cpu: float,
    watched: Watched,
) -> dict[str, Any]:  # fmt: skip
    spent, wall = time.process_time() - cpu, time.perf_counter() - began
    levels: dict[str, list[int]] = {}
    for name in numbers:
        level = levels.setdefault(f"{name[1][0]} {name[2].split()[0]}", [0, 0])
        level[0] += 1
        level[1] += name in hidden
    return {
        "figures": len(numbers), "hidden": len(hidden), "cpu_s": round(spent, 1), "wall_s": round(wall, 1),
        "rolled_up_cpu_s": round(rolled, 1), "us_a_figure": round(1e6 * spent / len(numbers), 1),
        "hidden_pct": {name: round(100 * of / all_, 2) for name, (all_, of) in sorted(levels.items())},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "audit": watched.audit(),
    }  # fmt: skip


def absence(authorities: int, days: int = TERM, sample: int = 4) -> dict[str, Any]:
    """Overall, authorised and unauthorised absence of a term, its weeks and days."""
    return flows(authorities, days, sample, Authority.absence, FAMILY)


def suspensions(authorities: int) -> dict[str, Any]:
    """Suspensions: few, and most schools have none on a day."""
    return flows(authorities, TERM, 4, Authority.suspensions, [measures.named("suspensions")])


def persistent(authorities: int) -> dict[str, Any]:
    """Persistent absence of a term, with trusts, which are solved with the rest."""
    schools = [Authority(number) for number in range(authorities)]
    measure = measures.named("persistent_absence")
    mine = {name: parts for one in schools for name, parts in one.counts(measure.name, True, 0.15)}
    groups, watched = groups_of(schools), Watched(4)
    began, cpu = time.perf_counter(), time.process_time()
    numbers = publication.rolled_up(mine, groups)
    when = Calendar.of({"term": "term"}, {})
    hidden = publication.hidden([measure], numbers, publication.tree(groups), when, hide=watched)
    return told(numbers, hidden, [measure], 0.0, began, cpu, watched)


def ethnicity(authorities: int) -> dict[str, Any]:
    """The headcount by ethnic group."""
    schools = [Authority(number) for number in range(authorities)]
    family = [measures.named("headcount")]
    groups, watched = groups_of(schools), Watched(4)
    began, cpu = time.perf_counter(), time.process_time()
    whole = publication.rolled_up({k: v for one in schools for k, v in one.headcount()}, groups)
    tree, when = publication.tree(groups), Calendar.of({"term": "term"}, {})
    published = divisions.Whole(whole, publication.hidden(family, whole, tree, when), frozenset())
    mine = publication.rolled_up({k: v for one in schools for k, v in one.by_ethnicity()}, groups)
    numbers = divisions.filled(family, ETHNICITY, mine, whole)
    hidden = divisions.hidden(family, ETHNICITY, numbers, published, tree, hide=watched)
    return told(numbers, hidden, family, 0.0, began, cpu, watched)


def new_day(authorities: int) -> dict[str, Any]:
    """The last day of the term comes after all others have been worked out."""
    forget()
    whole = absence(authorities, TERM - 1, sample=0)
    day = absence(authorities, TERM, sample=0)
    return {
        "term_cpu_s": whole["cpu_s"], "day_cpu_s": day["cpu_s"],
        "of_the_term": round(day["cpu_s"] / whole["cpu_s"], 2),
    }  # fmt: skip


def evenings(authorities: int) -> dict[str, Any]:
    """A term as it is released: each day, each Friday its week, at last itself, each beside all before it."""
    schools = [Authority(number) for number in range(authorities)]
    groups, when = groups_of(schools), calendar(TERM)
    drawn = {name: parts for one in schools for name, parts in one.absence(TERM)}
    at: dict[str, dict[Name, Parts]] = {}
    for name, parts in publication.rolled_up(drawn, groups).items():
        at.setdefault(name[2], {})[name] = parts
    tree, memory, watched = publication.tree(groups), Memory(), Watched(sample=0)
    took: dict[str, list[float]] = {"day": [], "week": [], "term": []}
    levels: dict[str, list[int]] = {}
    for time_ in _in_order(when):
        made_of = when.sums.get(time_, ())
        numbers = {name: parts for one in (time_, *made_of) for name, parts in at[one].items()}
        now = Calendar.of(
            {one: when.grains[one] for one in (time_, *made_of)}, {time_: made_of} if made_of else {}
        )
        began = time.process_time()
        watched = Watched(sample=2)
        hide = Remembering(memory, watched, {}, made_of)
        hidden = publication.hidden(FAMILY, numbers, tree, now, hide=hide)
        memory.learn(hide.decided)
        took[when.grains[time_]].append(time.process_time() - began)
        for name in at[time_]:
            level = levels.setdefault(f"{name[1][0]} {when.grains[time_]}", [0, 0])
            level[0] += 1
            level[1] += name in hidden
    return {
        "schools": len(groups), "figures": sum(map(len, at.values())),
        "cpu_s": {grain: round(sum(all_) / len(all_), 3) for grain, all_ in took.items()},
        "all_cpu_s": round(sum(map(sum, took.values())), 1),
        "hidden_pct": {name: round(100 * of / all_, 2) for name, (all_, of) in sorted(levels.items())},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        # The last table has every release of the term in it.
        "audit": watched.audit(),
    }  # fmt: skip


def _in_order(when: Calendar) -> list[str]:
    """The days of a week, the week, and so on; at last the term."""
    weeks = [one for one, grain in when.grains.items() if grain == "week"]
    terms = [one for one, grain in when.grains.items() if grain == "term"]
    return [*(one for week in weeks for one in (*when.sums[week], week)), *terms]


def forget() -> None:
    """Nothing is known from before."""
    suppression.forget()


def main() -> None:
    """Run the parts, print and write."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--authorities", type=int, default=10)
    asked.add_argument("--only", nargs="+", choices=PARTS, default=("absence",))
    given = asked.parse_args()
    result: dict[str, Any] = {"authorities": given.authorities, "goals": GOALS, "parts": {}}
    runs: dict[str, Callable[[int], dict[str, Any]]] = {
        "absence": absence, "suspensions": suspensions, "persistent": persistent, "ethnicity": ethnicity
    }  # fmt: skip
    for part in given.only:
        found: dict[str, Any]
        if part == "day":
            found = {"areas": 3, **new_day(3)}
        elif part == "evenings":
            found = evenings(1)
        else:
            forget()
            one = runs[part](1)
            forget()
            found = {"one_authority": one, "all": runs[part](given.authorities)}
            found["us_a_figure_all_to_one"] = round(found["all"]["us_a_figure"] / one["us_a_figure"], 2)
        result["parts"][part] = found
        print(part, json.dumps(found, indent=1), flush=True)
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1), "utf-8")


if __name__ == "__main__":
    main()
