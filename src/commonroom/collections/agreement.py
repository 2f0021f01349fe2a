"""Proves that the parts of a collection's declarations agree: names, paths, references. Knows no SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from commonroom.collections.model import RETURN, Collection, ColumnDef, Module, Other, Rule
from commonroom.declarations import line_at
from commonroom.problems import Problem, add_codes
from commonroom.standard import load as load_standard

add_codes({"CR-180": "The collection's declarations do not agree"})

Places = dict[str, tuple[Path, int]]
# Letters of a table or column; no double underscore, which marks the raw text beside a column.
_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")
# Built-in checks of single values, which `checked_by` may leave to a rule.
CHECKS = ("type", "length", "pattern", "range", "code", "required")
STANDARD_PARAMETERS = ("reference_date", "period_start", "period_end", "year")


def fault(path: Path, steps: tuple[str | int, ...], detail: str, remedy: str) -> Problem:
    """Problem CR-180 for the value that `steps` lead to in the file."""
    line = line_at(path, steps)
    key = ".".join(str(step) for step in steps)
    where = f"{path}, line {line}" + (f", key {key}" if key else "")
    extra = {"file": str(path), "line": line, "key": key}
    return Problem("CR-180", f"{detail}.", where=where, remedy=remedy, extra=extra)


def check_new(path: Path, rules: Iterable[Rule], collection: Collection) -> None:
    """Local rules must not stand in for rules of the collection, nor carry a code twice."""
    seen = set(collection.rules)
    for index, rule in enumerate(rules):
        if rule.code in seen:
            raise fault(
                path,
                ("rules", index, "code"),
                f"there is a rule {rule.code} already",
                "Give it a code of its own.",
            )
        seen.add(rule.code)


def check(collection: Collection, path: Path, places: Places) -> None:
    """Raise CR-180 at the first thing that does not fit; `places` says where each rule stands."""
    _check_modules(collection, path)
    for rule in collection.rules.values():
        rule_path, index = places[rule.code]
        for steps, detail, remedy in _faults(collection, rule):
            raise fault(rule_path, ("rules", index, *steps), f"rule {rule.code}: {detail}", remedy)


def _check_modules(collection: Collection, path: Path) -> None:
    known = {name.lower(): name for name in load_standard().codesets} | {
        n.lower(): n for n in collection.codesets
    }
    lower: set[str] = set()
    for module in collection.modules.values():
        detail = _module_fault(collection, module, known) or (
            "repeats a name" if module.name.lower() in lower else ""
        )
        lower.add(module.name.lower())
        if detail:
            place = _place(path, module.name)
            raise fault(path, place, f"module {module.name}: {detail}", "docs/collections.md has the form.")
    _check_file_name(collection, path)
    for name in collection.header:
        if "Header" not in collection.modules or name not in collection.modules["Header"].by_name:
            raise fault(
                path, ("header", name), f"there is no item Header.{name}", "Declare it, or leave it out."
            )
    if collection.reference_date_from is not None:
        name, _, item = collection.reference_date_from.partition(".")
        if name not in collection.modules or item not in collection.modules[name].by_name:
            raise fault(path, ("reference_date_from",), "there is no such item", "Write Module.Item.")
    if collection.record not in collection.modules:
        raise fault(path, ("record",), f"there is no module {collection.record}", "Name a module.")


def _check_file_name(collection: Collection, path: Path) -> None:
    if collection.file_name is None:
        return
    try:
        re.compile(collection.file_name.pattern)
    except re.error as error:
        raise fault(
            path, ("file_name", "pattern"), f"it is no regular expression ({error})", "Correct it."
        ) from error
    if "Header" not in collection.modules:
        raise fault(path, ("file_name",), "there is no module Header", "Declare it, or leave out the name.")


def _place(path: Path, module: str) -> tuple[str | int, ...]:
    """Where the module stands in the file; an inherited one stands in another, then the list it is laid in."""
    from commonroom.collections.model import Cover
    from commonroom.declarations import load

    names = [declared.name for declared in load(path, Cover).modules]
    return ("modules", names.index(module)) if module in names else ("modules",)


def _module_fault(collection: Collection, module: Module, codesets: dict[str, str]) -> str:
    if not _NAME.fullmatch(module.name) or module.name.lower() in (RETURN, "last"):
        return "this is no name for a table"
    if module.parent is not None and module.parent not in collection.modules:
        return f"there is no module {module.parent} to be its parent"
    above, seen = module.parent, {module.name}
    while above is not None:
        if above in seen:
            return "it is its own ancestor"
        seen.add(above)
        above = collection.modules[above].parent if above in collection.modules else None
    for name in (*module.set, *(name for place in module.also_at for name in place.set)):
        if name not in module.by_name:
            return f"`set` names {name}, which is no item of it"
    below = {child.name for child in collection.children(module.name)}
    for name in module.order:
        if name not in module.by_name and name not in below:
            return f"`order` names {name}, which is neither an item of it nor a module right below"
    return next(filter(None, (_item_fault(collection, module, item, codesets) for item in module.items)), "")


def _item_fault(collection: Collection, module: Module, item: ColumnDef, codesets: dict[str, str]) -> str:
    if not _NAME.fullmatch(item.name):
        return f"`{item.name}` is no name for a column"
    if sum(item.name.lower() == other.name.lower() for other in module.items) > 1:
        return f"the item {item.name} stands twice"
    if item.codeset is not None and item.codeset.lower() not in codesets:
        return f"item {item.name}: there is no code set `{item.codeset}` in the standard or the collection"
    if item.type == "code" and item.codeset is None:
        return f"item {item.name}: a code needs a `codeset`"
    for check_name, code in item.checked_by.items():
        if check_name not in CHECKS:
            return f"item {item.name}: `checked_by` knows {', '.join(CHECKS)}"
        if code not in collection.rules:
            return f"item {item.name}: there is no rule {code} to check it"
    return ""


def _faults(collection: Collection, rule: Rule) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """What does not fit in one rule: key, what is wrong, what to do."""
    modules = ", ".join(collection.modules)
    if rule.for_each is not None and rule.for_each not in collection.modules:
        yield ("for_each",), f"there is no module {rule.for_each}", f"Use one of: {modules}."
        return
    if rule.for_each is None and (rule.reach or rule.lookups or rule.pair_with or rule.unique):
        yield (), "only a rule with `for_each` reads a row's surroundings", "Write `for_each`."
    if not (rule.fails_when or rule.unique or rule.others):
        yield (), "it does not say when it fails", "Write `fails_when`."
    if rule.reason and rule.severity != "query":
        yield ("reason",), "only a query asks for a reason", "Leave it out."
    for name in rule.reach:
        if rule.for_each and name not in _reachable(collection, rule.for_each):
            yield ("with",), _unreachable(name, rule.for_each), _reach_remedy(collection, rule.for_each)
    for other in rule.others:
        if other.table not in collection.modules:
            yield (), f"there is no module {other.table}", f"Use one of: {modules}."
            return
        for name in other.reach:
            if name not in _reachable(collection, other.table):
                yield (), _unreachable(name, other.table), _reach_remedy(collection, other.table)
        yield from _same_faults(collection, rule, other)
    yield from _unique_faults(collection, rule)
    clash = _clash(rule)
    if clash:
        yield (), f"two sets of rows have the name {clash}", "Tell them apart by `as`."
    known = _cells(collection, rule)
    for place, pointed in enumerate(rule.point_at):
        if rule.cell(pointed) not in known:
            yield ("point_at", place), f"there is no item `{pointed}` within its reach", _known(known)
    parameters = {f"${name}" for name in (*STANDARD_PARAMETERS, *collection.parameters)}
    for written in rule.placeholders:
        if written not in (*rule.figures, *parameters) and rule.cell(written) not in known:
            yield ("message",), f"there is no `{{{written}}}` within its reach", _known(known)


def _same_faults(
    collection: Collection, rule: Rule, other: Other
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    same = other.same
    if same is None or same == RETURN:
        return
    over = [other.table, *(above.name for above in collection.ancestors(other.table))]
    if same not in over:
        yield (), f"{same} is no ancestor of {other.table}", f"Use one of: {', '.join(over)}, {RETURN}."
    elif other.is_last:
        yield (), "rows of the previous return share no ancestor with this one", "Leave out `same`."
    elif rule.for_each is None:
        yield (), "a rule for the whole return has no row to share an ancestor with", "Leave out `same`."
    elif same not in (rule.for_each, *(above.name for above in collection.ancestors(rule.for_each))):
        yield (), f"{same} is no ancestor of {rule.for_each}", "Name one that both have."


def _unique_faults(collection: Collection, rule: Rule) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    if rule.unique is None or rule.for_each is None:
        return
    for name in rule.unique.items:
        if name not in collection.modules[rule.for_each].by_name:
            yield ("unique", "items"), f"{rule.for_each} has no item {name}", "Name items of `for_each`."
    same = rule.unique.same
    if same != RETURN and same not in [above.name for above in collection.ancestors(rule.for_each)]:
        yield ("unique", "same"), f"{same} is no ancestor of {rule.for_each}", f"Name one, or `{RETURN}`."


def nearest_common(collection: Collection, module: str, other: str) -> str:
    """The nearest module whose rows have rows of both below them; `return` where there is none.

    Of two rows of one module it is the module above.
    """
    over = [other, *(above.name for above in collection.ancestors(other))]
    own = [module, *(above.name for above in collection.ancestors(module))]
    common = (name for name in own if name in over and not (name == module == other))
    return next(common, RETURN)


def _reachable(collection: Collection, module: str) -> list[str]:
    found: list[str] = []
    for above in (collection.modules[module], *collection.ancestors(module)):
        if above.name != module:
            found.append(above.name)
        following = [below for below in collection.children(above.name) if not below.many]
        while following:
            single = following.pop(0)
            if single.name != module and single.name not in found:
                found.append(single.name)
            following += [below for below in collection.children(single.name) if not below.many]
    found += [alone.name for alone in collection.children(None) if not alone.many and alone.name not in found]
    return [name for name in found if name != module]


def _unreachable(name: str, module: str) -> str:
    return f"`with: {name}` is neither above {module} nor a module that stands at most once there"


def _reach_remedy(collection: Collection, module: str) -> str:
    return f"From {module} one reaches: {', '.join(_reachable(collection, module)) or 'nothing'}."


def _clash(rule: Rule) -> str:
    """A name that two sets of rows have in one condition."""
    judged = [name for name in (rule.for_each, *rule.reach) if name]
    together = [*judged, *(other.alias for other in (*rule.lookups, *rule.pairs))]
    apart = [[*judged, other.alias, *other.reached] for other in (*rule.absences, *rule.presences)]
    for names in (together, *apart):
        for name in names:
            if names.count(name) > 1:
                return name
    return ""


def _cells(collection: Collection, rule: Rule) -> set[tuple[str, str]]:
    """Rows and item of everything that messages and `point_at` may name."""
    tables = {name: name for name in (rule.for_each, *rule.reach) if name}
    named = (*rule.lookups, *rule.pairs, *rule.presences, *(measure.other for measure in rule.counted))
    tables |= {other.alias: other.table for other in named}
    cells = {(alias, item) for alias, table in tables.items() for item in collection.modules[table].by_name}
    # Of rows that must be absent a place is the item as such.
    absent = {other.table for other in rule.absences} - set(tables)
    return cells | {(table, item) for table in absent for item in collection.modules[table].by_name}


def _known(cells: Iterable[tuple[str, str]]) -> str:
    return f"Known: {', '.join(sorted(f'{alias}.{item}' for alias, item in cells)[:60])}."
