"""From end to end: a whole valid return, one fault made in it, written, read again, judged. Only that fault may be found."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from commonroom import declarations
from commonroom.collections.engine import Engine, reads
from commonroom.collections.findings import Report
from commonroom.collections.model import Collection, Rule
from commonroom.collections.records import Arranger, Record, arrange, load_records, read_back
from commonroom.collections.relative_dates import with_dates
from commonroom.collections.tables import LAST_RETURN, Limits, Tables
from commonroom.collections.xml_in import read_stream, read_xml
from commonroom.collections.xml_out import write_records
from commonroom.problems import Problem

Content = dict[str, list[Record]]

_WORDS = ("from", "pick", "add", "copy", "remove", "every", "also", "last_return", "note")
# In place of an item: rows came or went.
_ROWS = ""
_NUMBERED = re.compile(r"(\w+)\[(\d+)\]")
_SMALL = Limits(memory_mb=512, threads=1)


def valid_file(collection: Collection, start: str = "") -> Path | None:
    """The whole valid return that is nearest among the folders of the collection; `start` names a further one."""
    stem = f"valid-{start}" if start else "valid"
    found = (Path(folder) / f"{stem}{end}" for folder in collection.folders for end in (".yaml", ".xml"))
    return next((path for path in found if path.is_file()), None)


def starts(collection: Collection) -> list[str]:
    """The names of the whole valid returns: empty for valid.yaml, `special` for valid-special.yaml."""
    found = {path.stem for folder in collection.folders for path in Path(folder).glob("valid*.*")}
    return sorted(stem.removeprefix("valid").removeprefix("-") for stem in found)


class Mutators:
    """Makes the faults of one collection's rules, and judges what comes of them."""

    def __init__(self, engine: Engine) -> None:
        """Raises Problem CR-180 where the collection has no valid return."""
        self._engine = engine
        self.collection = engine.collection
        self._tables = Tables(self.collection, _SMALL)
        self._valid: dict[str, Content] = {}
        # What the tables hold as the previous return.
        self._last: Content | None = None
        self.valid = self.valid_return()

    def close(self) -> None:
        """Release the memory."""
        self._tables.close()

    def valid_return(self, start: str = "") -> Content:
        """A whole valid return. Raises Problem CR-180 where there is none of the name."""
        if start not in self._valid:
            path = valid_file(self.collection, start)
            if path is None:
                file = f"valid-{start}.yaml" if start else "valid.yaml"
                folder = self.collection.folders[0]
                raise Problem(
                    "CR-180", "there is no whole valid return", where=folder, remedy=f"Write {file}."
                )
            self._valid[start] = self._read(path)
        return self._valid[start]

    def judge_valid(self, start: str = "") -> Report:
        """What is found in a valid return, beside itself as the previous one: nothing, if it is one."""
        valid = self.valid_return(start)
        return self._judge(valid, valid, None)

    def difference(self, rule: Rule) -> str:
        """What is wrong with the rule's mutator; empty where exactly its fault is found."""
        if rule.mutate is None:
            return "there is no mutator"
        where = f"rule {rule.code}, mutate"
        try:
            valid = self.valid_return(str(rule.mutate.get("from") or ""))
            content = mutated(self.collection, valid, rule.mutate, where)
            last = mutated(self.collection, valid, rule.mutate.get("last_return") or {}, where)
            report = self._judge(content, last, self._reading(valid, content, last))
        except Problem as problem:
            return str(problem)
        found = {finding.rule for finding in report.findings}
        expected = {rule.code, *(rule.mutate.get("also") or ())}
        if found == expected:
            return ""
        lacking, other = ", ".join(sorted(expected - found)), ", ".join(sorted(found - expected))
        broken = "; ".join(
            f"{code} is not checked: {why}" for code, why in report.reasons.items() if code == rule.code
        )
        parts = (f"not found: {lacking}" if lacking else "", f"found too: {other}" if other else "", broken)
        return "; ".join(filter(None, parts))

    def _reading(self, valid: Content, content: Content, last: Content) -> set[str]:
        """The rules that read something changed: the others find what they find in the valid return."""
        changed = [_changes(self.collection, valid, one) for one in (content, last)]
        return {
            rule.code
            for rule in self.collection.rules.values()
            if any(_touches(self.collection, rule, changes) for changes in changed)
        }

    def _judge(self, content: Content, last: Content, codes: set[str] | None) -> Report:
        self._tables.clear_return()
        written = io.BytesIO()
        write_records(self.collection, content, written.write)
        written.seek(0)
        found = read_stream(written, self._tables, name="the mutated return")
        if last != self._last:
            # Most faults are in the return itself: the previous one stays where it is.
            self._tables.clear_last_return()
            load_records(self._tables, last, LAST_RETURN)
            self._last = last
        self._tables.has_last_return = True
        return self._engine.check(self._tables, found, codes)

    def _read(self, path: Path) -> Content:
        """The valid return, lists throughout."""
        self._tables.clear_return()
        if path.suffix == ".xml":
            read_xml(path, self._tables)
        else:
            content = with_dates(self.collection, declarations.load(path, dict[str, Any]), str(path))
            load_records(self._tables, arrange(self.collection, content, str(path)), where=str(path))
        return read_back(self._tables)


def mutated(collection: Collection, valid: Content, mutate: Mapping[str, Any], where: str) -> Content:
    """A copy of the valid return with the changes made. Raises Problem CR-183 where they do not fit."""
    return _Mutation(collection, copy.deepcopy(valid), where).made(
        with_dates(collection, dict(mutate), where)
    )


class _Mutation:
    def __init__(self, collection: Collection, content: Content, where: str) -> None:
        self._collection = collection
        self._content = content
        self._where = where
        # Top module -> the record that is changed.
        self._records: dict[str, Record] = {}
        # Module -> item -> value that the record to be changed has.
        self._picked: dict[str, dict[str, str | None]] = {}

    def made(self, mutate: Mapping[str, Any]) -> Content:
        changes = {name: value for name, value in mutate.items() if name not in _WORDS}
        added = mutate.get("add") or {}
        copied = mutate.get("copy") or {}
        removed = mutate.get("remove") or []
        self._picked = {self._known(name): wanted for name, wanted in (mutate.get("pick") or {}).items()}
        self._choose([*changes, *copied, *removed, *self._picked], list(added))
        for name, values in (mutate.get("every") or {}).items():
            for row in list(_rows(self._collection, self._content, self._known(name))):
                self._set(row, name, values)
        for name, values in changes.items():
            self._set(self._row(name), self._named(name)[0], values)
        for name, values in copied.items():
            self._copy(name, values)
        for name, rows in added.items():
            for row in rows if isinstance(rows, list) else [rows]:
                self._siblings_for(name).append(self._arranged(name, row))
        for name in removed:
            self._remove(name)
        return self._content

    def _choose(self, named: list[str], added: list[str]) -> None:
        """Of each top module the first record that has every row the change is about."""
        wanted: dict[str, list[tuple[str, int]]] = {}
        for name in named:
            module, number = self._named(name)
            wanted.setdefault(self._collection.top(module), []).append((module, number))
        for name in added:
            parent = self._collection.modules[self._known(name)].parent
            if parent is not None:
                wanted.setdefault(self._collection.top(parent), []).append((parent, 1))
        for top, rows in wanted.items():
            for record in self._content.get(top, []):
                if self._is_picked(record, top) and all(
                    len(self._found(record, top, module)) >= number for module, number in rows
                ):
                    self._records[top] = record
                    break
            else:
                names = ", ".join(f"{module}[{number}]" for module, number in rows)
                raise self._fault(f"no record of the valid return has {names}, as it is picked")

    def _is_picked(self, record: Record, top: str) -> bool:
        """True where the record has a row of each picked module of its own with the values asked for."""
        mine = {name: wanted for name, wanted in self._picked.items() if self._collection.top(name) == top}
        return all(
            any(
                all(row.get(item) == value for item, value in wanted.items())
                for row in self._found(record, top, name)
            )
            for name, wanted in mine.items()
        )

    def _named(self, name: str) -> tuple[str, int]:
        """Module and number of `Module`, `Module[2]` or `Module.all`."""
        numbered = _NUMBERED.fullmatch(name)
        if numbered:
            return self._known(numbered.group(1)), int(numbered.group(2))
        return self._known(name.removesuffix(".all")), 1

    def _known(self, module: str) -> str:
        if module not in self._collection.modules:
            raise self._fault(
                f"there is no module `{module}`; there are {', '.join(self._collection.modules)}"
            )
        return module

    def _found(self, record: Record, top: str, module: str) -> list[Record]:
        return list(_below(self._collection, top, [record], module))

    def _row(self, name: str) -> Record:
        module, number = self._named(name)
        top = self._collection.top(module)
        return self._found(self._records[top], top, module)[number - 1]

    def _siblings(self, name: str) -> list[Record]:
        """The list in which a row stands."""
        module, _ = self._named(name)
        row, parent = self._row(name), self._collection.modules[module].parent
        if parent is None:
            return self._content[module]
        top = self._collection.top(module)
        lists = (above.get(module, []) for above in self._found(self._records[top], top, parent))
        return next(rows for rows in lists if any(one is row for one in rows))

    def _siblings_for(self, module: str) -> list[Record]:
        """The list that a further row joins: that of the record's first row, else below the first possible parent."""
        parent = self._collection.modules[self._known(module)].parent
        if parent is None:
            return self._content.setdefault(module, [])
        top = self._collection.top(module)
        parents = self._found(self._records[top], top, parent)
        above = next((one for one in parents if one.get(module)), parents[0])
        rows: list[Record] = above.setdefault(module, [])
        return rows

    def _set(self, row: Record, module: str, values: Any) -> None:
        if isinstance(values, str) or values is None:
            values = {self._collection.modules[module].items[0].name: values}
        for item, value in values.items():
            if item not in self._collection.modules[module].by_name:
                if item not in {child.name for child in self._collection.children(module)}:
                    raise self._fault(f"{module} has no item `{item}`")
                row[item] = [
                    self._arranged(item, one) for one in (value if isinstance(value, list) else [value])
                ]
            elif value is None:
                row.pop(item, None)
            else:
                row[item] = value

    def _copy(self, name: str, values: Any) -> None:
        module, _ = self._named(name)
        made = copy.deepcopy(self._row(name))
        for item, value in (values or {}).items():
            inner = item in self._collection.modules and item not in self._collection.modules[module].by_name
            target = next(iter(_below(self._collection, module, [made], item)), None) if inner else made
            if target is None:
                raise self._fault(f"the copied {module} has no {item}")
            self._set(target, item if inner else module, value if inner else {item: value})
        self._siblings(name).append(made)

    def _remove(self, name: str) -> None:
        module, _ = self._named(name)
        top = self._collection.top(module)
        gone = self._found(self._records[top], top, module) if name.endswith(".all") else [self._row(name)]
        parents = (
            [self._content]
            if module == top
            else self._found(self._records[top], top, self._collection.modules[module].parent or top)
        )
        for above in parents:
            above[module] = [row for row in above.get(module, []) if not any(row is one for one in gone)]

    def _arranged(self, module: str, row: Any) -> Record:
        """A row written as in examples, lists throughout."""
        return Arranger(self._collection, self._where).normal(module, row)

    def _fault(self, detail: str) -> Problem:
        return Problem("CR-183", f"{detail}.", where=self._where, remedy="docs/collections.md has the form.")


def _rows(collection: Collection, content: Content, module: str) -> list[Record]:
    top = collection.top(module)
    return list(_below(collection, top, content.get(top, []), module))


def _changes(collection: Collection, valid: Content, one: Content) -> dict[str, set[str]]:
    """Module -> the items whose values differ; `_ROWS` where the rows themselves do."""
    found: dict[str, set[str]] = {}
    for module in collection.modules.values():
        before, after = _rows(collection, valid, module.name), _rows(collection, one, module.name)
        if len(before) != len(after):
            found.setdefault(module.name, set()).add(_ROWS)
            continue
        pairs = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        items = {
            item.name
            for item in module.items
            for old, new in pairs
            if old.get(item.name) != new.get(item.name)
        }
        if items:
            found.setdefault(module.name, set()).update(items)
        for child in collection.children(module.name):
            if any(len(old.get(child.name, ())) != len(new.get(child.name, ())) for old, new in pairs):
                found.setdefault(child.name, set()).add(_ROWS)
    return found


def _touches(collection: Collection, rule: Rule, changes: dict[str, set[str]]) -> bool:
    """True where the rule may judge otherwise: it reads a module whose rows changed, or names an item that did."""
    module, _, item = (collection.reference_date_from or "").partition(".")
    if item in changes.get(module, ()):
        # All days move with this one.
        return True
    words = _words(rule) | {_ROWS}
    return any(changes[name] & words for name in changes.keys() & reads(collection, rule))


def _words(rule: Rule) -> set[str]:
    """Every name that stands in the rule's conditions, figures, places and message."""
    unique = (*rule.unique.items, rule.unique.where) if rule.unique else ()
    figures = (value for measure in rule.counted for value in measure.values.values())
    wheres = (other.where for other in rule.others)
    texts = (rule.fails_when, rule.message, *rule.point_at, *unique, *figures, *wheres)
    return set(re.findall(r"\w+", " ".join(filter(None, texts))))


def _below(collection: Collection, start: str, rows: list[Record], module: str) -> Iterator[Record]:
    """The rows of a module in and below these rows, in file order."""
    if start == module:
        yield from rows
        return
    chain = [module, *(above.name for above in collection.ancestors(module))]
    if start not in chain:
        return
    following = chain[chain.index(start) - 1]
    for row in rows:
        yield from _below(collection, following, row.get(following, []), module)
