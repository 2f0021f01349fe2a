"""Runs the examples of every rule through the very statement that judges returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from commonroom.collections.engine import Engine
from commonroom.collections.findings import Raised, written
from commonroom.collections.model import Rule
from commonroom.collections.records import arrange, load_records
from commonroom.collections.relative_dates import with_dates
from commonroom.collections.tables import LAST_RETURN, Limits, Tables
from commonroom.problems import Problem

# Keys of an example that are no modules.
_SPECIAL = ("fails", "at", "last_return", "note")
_SMALL = Limits(memory_mb=512, threads=1)


class Failure(msgspec.Struct, frozen=True):
    """An example that does not come out as it says, or one that a rule lacks. `index` counts from 1; 0 for the rule."""

    rule: str
    index: int
    detail: str


class Examples:
    """Runs examples of one collection; its tables serve one example after the other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tables = Tables(engine.collection, _SMALL)

    def close(self) -> None:
        """Release the memory."""
        self._tables.close()

    def failures(self, codes: Iterable[str] | None = None) -> list[Failure]:
        """Everything that is wrong with the examples of these rules, or of all."""
        rules = self._engine.collection.rules
        return [
            failure for code in (rules if codes is None else codes) for failure in self.of_rule(rules[code])
        ]

    def of_rule(self, rule: Rule) -> list[Failure]:
        """What is wrong with the examples of one rule."""
        found = [Failure(rule.code, 0, detail) for detail in gaps(rule)]
        for index, example in enumerate(rule.examples, start=1):
            detail = self._run(rule, index, example)
            if detail:
                found.append(Failure(rule.code, index, detail))
        return found

    def _run(self, rule: Rule, index: int, example: Mapping[str, Any]) -> str:
        where = f"rule {rule.code}, example {index}"
        try:
            self._load(example, where)
            found, reason = self._engine.run(rule.code, self._tables, self._engine.unreadable(self._tables))
        except Problem as problem:
            return str(problem)
        return self._difference(example, found, reason)

    def _load(self, example: Mapping[str, Any], where: str) -> None:
        collection = self._engine.collection
        self._tables.clear()
        example = with_dates(collection, dict(example), where)
        modules = {name: value for name, value in example.items() if name not in _SPECIAL}
        load_records(self._tables, arrange(collection, modules, where), where=where)
        if "last_return" in example:
            last = arrange(collection, example["last_return"] or {}, where)
            load_records(self._tables, last, LAST_RETURN, where)
            self._tables.has_last_return = True

    def _difference(self, example: Mapping[str, Any], found: list[Raised], reason: str) -> str:
        expected = str(example.get("fails", ""))
        if reason and not found:
            return "" if expected == "not_checked" else f"the rule was not checked: {reason}"
        fits = len(found) == int(expected) if expected.isdigit() else (expected == "true") == bool(found)
        if expected not in ("true", "false", "not_checked") and not expected.isdigit():
            return "write `fails:` true, false, not_checked or the number of findings"
        if not fits:
            return f"it says `fails: {expected}`; there are {len(found)} findings"
        at = example.get("at") or []
        findings = written(found, self._tables) if at else []
        named = dict.fromkeys(place.path for finding in findings for place in finding.locations)
        first = {finding.locations[0].path for finding in findings}
        if not all(any(_ends(path, end) for path in named) for end in at) or not all(
            any(_ends(path, end) for end in at) for path in first
        ):
            return f"it says `at: {', '.join(at)}`; the findings name {', '.join(named)}"
        return ""


def gaps(rule: Rule) -> list[str]:
    """What a rule's examples do not show."""
    failing = [
        example for example in rule.examples if str(example.get("fails")) not in ("false", "0", "not_checked")
    ]
    found = []
    if not failing:
        found.append("no example fails")
    if len(failing) == len(rule.examples):
        found.append("no example passes")
    if not any(
        _is_blank({k: v for k, v in example.items() if k not in _SPECIAL}) for example in rule.examples
    ):
        found.append("no example is all blank")
    return found


def _is_blank(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_blank, value.values()))
    if isinstance(value, list):
        return all(map(_is_blank, value))
    return not value


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith(f"/{end}")
