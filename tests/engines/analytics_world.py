"""A small seeded warehouse with facts of every entity that measures read: corrected, withdrawn and late ones too."""

from __future__ import annotations

import ast
import contextlib
import random
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from commonroom import standard
from commonroom.engines import delta
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import characteristics, compilation, measures, tables
from commonroom.warehouse.analytics import Source
from commonroom.warehouse.characteristics import MOMENTS
from commonroom.warehouse.compilation import FACTS, MEMBERS, PERIODS, SAME
from commonroom.warehouse.facts import Fact
from commonroom.warehouse.model import Measure
from commonroom.warehouse.same_learners import Same

FIRST, LAST = date(2026, 9, 7), date(2026, 12, 11)
# Without a zone, as the tables have them.
BEGIN = datetime.fromisoformat("2026-09-07T18:00")
HALF_KNOWN = datetime.fromisoformat("2026-11-01T12:00")
SCHOOLS = [str(990001 + number) for number in range(5)]
PUPILS = [f"X99742002000{number}" for number in range(9)]
NUMBERS = ["1", "2", "30.5", "32.50"]
SLOTS = 1500
# Group and size of qualifications, by their place in the list.
QUALIFICATIONS = [
    ("MAT", 1), ("ENL", 1), ("ENT", 1), ("EBA", 1), ("EBA", 1), ("EBA", 1), ("EBA", 1), ("EBA", 2), ("OPE", 1), ("OPE", 1),
    ("NON", 1),
]  # fmt: skip
GRADES = [str(grade) for grade in range(10)]


class World:
    """Tables in a data folder, and what an engine is asked about them."""

    def __init__(self, settings: Settings, seed: int, slots: int = SLOTS) -> None:
        self.settings = settings
        self.measures = {**measures.load(), **_divided()}
        wanted = {
            entity for one in self.measures.values() for entity in compilation.entities_of(one).values()
        }
        self.files = {
            entity: self._written(entity, random.Random(f"{seed} {entity}"), slots)
            for entity in sorted(wanted)
        }

    def asked(
        self, measure: Measure, known_at: datetime | None
    ) -> tuple[dict[str, Source], dict[str, pa.Table]]:
        """The facts of a measure and the tables beside them: three weeks and all of it, or three days."""
        is_flow = measure.taken == "over the period"
        sources = {
            name: Source(
                entity,
                tuple(file.path for file in self.files[entity]),
                tuple(compilation.columns_of(measure, entity)),
                FIRST if is_flow and name == FACTS else date.min,
                LAST,
                known_at,
            )
            for name, entity in compilation.entities_of(measure).items()
        }
        beside = {
            PERIODS: _flow_periods() if is_flow else _state_periods(),
            MEMBERS: pa.table({"school": SCHOOLS[:4], "member": SCHOOLS[:4]}),
        }
        if measure.elsewhere:
            # The first pupil is found to be the second one too.
            same = tuple(map(_learner, PUPILS[:2]))
            beside[SAME] = Same("world", (same,)).table()
        if measure.by is not None:
            beside[MOMENTS] = _ends(beside[PERIODS])
        return sources, beside

    def _written(self, entity: str, chance: random.Random, slots: int) -> list[delta.TableFile]:
        """The facts in three commits; the first as an older release would have written it."""
        table = tables.of(entity)
        facts = list(self._log(entity, chance, slots))
        folder, version = table.folder(self.settings), None
        for number in range(3):
            rows = table.to_arrow(facts[number::3])
            if number == 0:
                rows = rows.drop_columns(["origin"])
            batch = delta.Batch(number=number + 1, id=f"batch {number}")
            version = delta.append(folder, rows, after=version, batch=batch)
        assert version is not None
        return delta.files_of(folder, version)

    def _log(self, entity: str, chance: random.Random, slots: int) -> Iterator[Fact]:
        """First records, then of some a correction, of others a withdrawal; some of these twice."""
        live: dict[Any, Fact] = {}
        makes = _Maker(entity, self.measures, chance)
        for number, known in enumerate([*_together(entity, chance), *({} for _ in range(slots))]):
            first = makes.fact(number, known)
            if first.slot in live:
                continue
            live[first.slot] = first
            yield first
            # Of what belongs together little is corrected: a goal that is not reached undoes a whole profile.
            for _ in range(chance.choice([0] * 15 + [1] if known else [0, 0, 0, 1, 2])):
                was = live[first.slot]
                later = was.known_from + timedelta(days=chance.randint(0, 40))
                ended = msgspec.structs.replace(was, weight=-was.weight, known_from=later)
                yield ended
                if chance.random() < 0.4:
                    break
                new = msgspec.structs.replace(
                    makes.fact(number), key=was.key, valid_from=was.valid_from, known_from=later
                )
                live[first.slot] = msgspec.structs.replace(new, items=makes.with_key(new.items, was))
                yield live[first.slot]


class _Maker:
    """Facts of one entity; items that measures compare hold the values they are compared with, and others."""

    def __init__(self, entity: str, all_measures: Mapping[str, Measure], chance: random.Random) -> None:
        self.entity = standard.load().entities[entity]
        self.table, self.chance = tables.of(entity), chance
        self.compared = _compared(all_measures)
        self.places = {
            "school",
            *(one.place for one in all_measures.values() if entity in (one.entity, one.beside)),
        }

    def fact(self, number: int, known: Mapping[str, Any] | None = None) -> Fact:
        """A fact by chance, but for the values that are known."""
        day = FIRST + timedelta(days=self.chance.randint(0, (LAST - FIRST).days))
        items = tuple(
            known[item.name] if known and item.name in known else self._value(item, day)
            for item in self.entity.items
        )
        key = tuple(items[self.table.items.index(name)] for name in self.table.key)
        known_from = BEGIN + timedelta(days=(day - FIRST).days, hours=self.chance.randint(0, 300))
        until = day + timedelta(days=20) if self.chance.random() < 0.1 else None
        learner = _learner(items[self.table.items.index("upn")]) if self.table.names_learner else None
        return Fact(key, day, until, items, 1, 1, number + 1, known_from, f"m{number}", "urn:s", learner)

    def with_key(self, items: tuple[Any, ...], was: Fact) -> tuple[Any, ...]:
        """Other items under the key and the day of an older fact."""
        stays = {*self.table.key, self.entity.valid_from_item}
        pairs = zip(self.table.items, was.items, items, strict=True)
        return tuple(old if name in stays else new for name, old, new in pairs)

    def _value(self, item: standard.Item, day: date) -> Any:
        if item.name == self.entity.valid_from_item:
            return day
        if item.name in self.places:
            return self.chance.choice(SCHOOLS)
        if item.name == "upn":
            return self.chance.choice(PUPILS)
        if not item.required and self.chance.random() < 0.15:
            return None
        if item.type == "date":
            return day + timedelta(days=self.chance.randint(-60, 60))
        if item.type == "boolean":
            return self.chance.random() < 0.5
        if item.type == "integer":
            return self.chance.randint(0, 40)
        return self.chance.choice(self._texts(item))

    def _texts(self, item: standard.Item) -> list[str]:
        known = sorted(self.compared.get(item.name, ()))
        if known and self.chance.random() < 0.9:
            return known
        return (
            [code.code for code in standard.load().codesets[item.codeset].codes] if item.codeset else NUMBERS
        )


def _together(entity: str, chance: random.Random) -> Iterator[dict[str, Any]]:
    """What facts that mean something only together say: the results of a pupil, and what the Department says of these."""
    yield from _leavers(entity)
    if entity == "enrolment":
        # Long stays: who is in year 12 for half a year and more.
        for school in SCHOOLS[:4]:
            for upn in PUPILS:
                left = chance.choice([None, None, date(2026, 1, 15), date(2026, 5, 1)])
                stay = {
                    "entry_date": date(2020, 9, 1),
                    "leaving_date": left,
                    "enrolment_status": "C",
                    "nc_year": "12",
                }
                yield {"school": school, "upn": upn, **stay}
    elif entity == "qualification":
        for number, (group, size) in enumerate(QUALIFICATIONS):
            yield {"qualification": f"Q{number}", "performance_group": group, "gcse_size": size}
    elif entity == "qualification_grade":
        for number in range(len(QUALIFICATIONS)):
            for grade in GRADES:
                yield {"qualification": f"Q{number}", "grade": grade, "performance_points": f"{grade}.0"}
    elif entity == "progress_estimate":
        for number, low in enumerate(range(94, 122, 2), start=1):
            group = {
                "lowest_prior": f"{low}.0",
                "highest_prior": f"{low + 1}.50",
                "standard_deviation": "1.27",
            }
            estimate = {"estimate": f"{10 + 3 * number}.25", "lowest_score": chance.choice([None, "-2.50"])}
            yield {"academic_year": "2026/27", "prior_group": number, **group, **estimate}
    elif entity == "admission_number":
        for school in SCHOOLS[:4]:
            for year in ("2026/27", "2027/28"):
                for group in ("R", "7"):
                    yield {"school": school, "admission_year": year, "nc_year": group}
    elif entity in ("examination_result", "assessment_result"):
        for school in SCHOOLS[:4]:
            for upn in PUPILS:
                for result in _results(chance) if entity == "assessment_result" else _grades(chance):
                    yield {"school": school, "upn": upn, **result}


def _leavers(entity: str) -> Iterator[dict[str, Any]]:
    """Who left after year 11 or 13, and what became of them: of some nobody tells."""
    autumn, winter, spring = date(2026, 9, 1), date(2026, 12, 20), date(2027, 5, 1)
    for number in range(96):
        upn, uln = f"X99742003{number:03}", f"10000000{number:02}"
        at_provider = {"provider": "10099001", "learner": f"L{number}"}
        learns = {
            **at_provider,
            "aim_number": 1,
            "start_date": autumn,
            "actual_end_date": None,
            "programme_type": None,
        }
        heard = {**at_provider, "uln": uln, "start_date": autumn, "end_date": None, "collected_date": spring}
        told: dict[str, list[dict[str, Any]]] = {
            "learning_delivery": [
                {**learns, "fund_model": "25"},
                {**learns, "fund_model": "36"},
                {**learns, "fund_model": "25", "actual_end_date": winter},
            ],
            "la_placement": [{"upn": upn, "entry_date": autumn, "leaving_date": None}],
            "learner_destination": [{**heard, "outcome_type": "EMP", "outcome_code": "1"}],
        }
        stay = {
            "school": SCHOOLS[number % 4],
            "upn": upn,
            "entry_date": date(2020, 9, 1),
            "enrolment_status": "C",
        }
        left = {
            "leaving_date": date(2026, 8, 31),
            "leaving_reason": None,
            "nc_year": ("11", "13")[number // 48],
        }
        kinds = [(name, fact) for name, facts in told.items() for fact in facts]
        became = [(None, {}), *kinds][number // 4 % (len(kinds) + 1)]
        if entity == "enrolment":
            yield {**stay, **left}
        elif entity == "learner":
            yield {"school": stay["school"], "upn": upn, "uln": uln}
        elif entity == "provider_learner":
            yield {**at_provider, "uln": uln}
        elif entity == became[0]:
            yield became[1]


def _grades(chance: random.Random) -> list[dict[str, Any]]:
    return [
        {"qualification": f"Q{number}", "stage": "KS4", "grade": chance.choice(GRADES), "discount_code": None}
        for number in range(len(QUALIFICATIONS))
        if chance.random() < 0.8
    ]


def _results(chance: random.Random) -> list[dict[str, Any]]:
    """A profile with most goals reached, key stage 1 and key stage 2: more at the standard than not."""
    profile = [
        ("EYF", subject, "TA", f"E{number:02}", "NL", "1" if chance.random() < 0.02 else "2")
        for number, subject in enumerate(
            ("COM", "COM", "PSE", "PSE", "PSE", "PHY", "PHY", "LIT", "LIT", "LIT", "MAT", "MAT")
        )
    ]
    scores = [
        ("KS2", subject, "TT", subject, "NS", str(chance.randint(95, 120))) for subject in ("REA", "MAT")
    ]
    judged = [
        (stage, subject, "TA", subject, "NL", chance.choice(["WTS", "EXS", "GDS"]))
        for stage, subject in (("KS1", "REA"), ("KS1", "WRI"), ("KS1", "MAT"), ("KS2", "WRI"))
    ]
    names = ("stage", "subject", "method", "component", "result_qualifier", "result")
    return [dict(zip(names, one, strict=True)) for one in [*profile, *scores, *judged]]


def _divided() -> dict[str, Measure]:
    """A flow, a state and one of facts with groups of their own, by each characteristic by which they can be."""
    found = {}
    for name in ("absence_overall", "headcount", "expected_joiners"):
        for by in characteristics.load():
            with contextlib.suppress(Problem):
                one = measures.divided(measures.named(name), by)
                found[one.name] = one
    return found


def _compared(all_measures: Mapping[str, Measure]) -> dict[str, set[str]]:
    """The texts that columns are compared with, by column, in all measures."""
    found: dict[str, set[str]] = {}
    for measure in all_measures.values():
        others = measure.elsewhere.values()
        elsewhere = [text for one in others for text in (*one.each.values(), one.only) if text]
        for text in [*measure.each.values(), *measure.each_beside.values(), *elsewhere]:
            for node in ast.walk(ast.parse(text, mode="eval")):
                if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name):
                    values = {
                        one.value for one in ast.walk(node.comparators[0]) if isinstance(one, ast.Constant)
                    }
                    found.setdefault(node.left.id, set()).update(
                        value for value in values if isinstance(value, str)
                    )
    return found


def _learner(upn: str | None) -> str | None:
    """The key of a pupil."""
    return None if upn is None else f"learner {upn}"


def _ends(periods: pa.Table) -> pa.Table:
    """The last day of each period."""
    last: dict[str, date] = {}
    for day, period in zip(*periods.to_pydict().values(), strict=True):
        last[period] = max(day, last.get(period, day))
    return _period_table("on", [(day, period) for period, day in last.items()])


def _flow_periods() -> pa.Table:
    days = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    rows = [(day, "all of it") for day in days]
    rows += [(day, f"week {number // 7}") for number, day in enumerate(days[:21])]
    return _period_table("day", rows)


def _state_periods() -> pa.Table:
    moments = [FIRST + timedelta(days=20), FIRST + timedelta(days=50), LAST]
    return _period_table("on", [(day, f"on {day}") for day in moments])


def _period_table(name: str, rows: list[tuple[date, str]]) -> pa.Table:
    days, names = zip(*rows, strict=True)
    return pa.table({name: pa.array(days, pa.date32()), "period": pa.array(names, pa.string())})


def sorted_rows(rows: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """Rows in an order that does not depend on the engine."""
    return sorted(sorted(row.items()) for row in rows)


def folder_in(path: Path) -> Settings:
    """Settings of a data folder without a database: engines need none."""
    return Settings(data=path)
