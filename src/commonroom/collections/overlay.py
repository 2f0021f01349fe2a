"""Years over years: what a year declares is laid over what it inherits; only what changes is written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TypeVar

import msgspec

from commonroom.collections.agreement import fault
from commonroom.collections.file_model import FileMap
from commonroom.collections.live_model import Live
from commonroom.collections.model import Change, Collection, Cover, Module, Rule, Workflow

T = TypeVar("T")

# What a year takes over from the one below where it says nothing itself. A deadline and a window are its own.
_INHERITED = (
    "title", "description", "returned_by", "reference_date", "reference_date_from", "period", "record",
    "workflow", "publishes", "file_name",
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """The declarations of one folder, as written. `places` says where each rule stands."""

    path: Path
    cover: Cover
    files: FileMap | None
    rules: dict[str, Rule]
    places: dict[str, tuple[Path, int]]
    live: dict[str, tuple[Live, ...]]

    @property
    def inherited(self) -> tuple[str, int] | None:
        """Collection and year it is laid over: `2025`, or `school_census/2025` for those of another one."""
        if self.cover.inherits is None:
            return None
        name, _, year = self.cover.inherits.rpartition("/")
        if not year.isdigit():
            raise fault(
                self.path,
                ("inherits",),
                "this is no year",
                "Write a year, or the collection, `/` and a year.",
            )
        return name or self.cover.name, int(year)


def join(layers: list[Layer]) -> Collection:
    """The collection that the last layer makes of those before it."""
    last = layers[-1]
    cover = reduce(_cover, (layer.cover for layer in layers))
    modules: dict[str, Module] = {}
    rules: dict[str, Rule] = {}
    for layer in layers:
        modules = _modules(modules, layer)
        rules = _rules(rules, layer)
    files = reduce(_files, (layer.files for layer in layers if layer.files), FileMap())
    return Collection(
        name=cover.name,
        year=cover.year,
        title=_said(last, "title", cover.title),
        status=cover.status or "released",
        description=_said(last, "description", cover.description),
        returned_by=_said(last, "returned_by", cover.returned_by),
        reference_date=_said(last, "reference_date", cover.reference_date),
        reference_date_from=cover.reference_date_from,
        period=_said(last, "period", cover.period),
        opens=cover.opens,
        deadline=cover.deadline,
        header=cover.header or {},
        file_name=cover.file_name,
        record=cover.record or _first_many(last, modules),
        modules={name: _placed(module, files) for name, module in modules.items()},
        rules=rules,
        files=files,
        codesets={codeset.name: codeset for codeset in cover.codesets},
        workflow=cover.workflow or Workflow(),
        publishes=cover.publishes or "",
        parameters=cover.parameters,
        folders=tuple(str(layer.path.parent) for layer in reversed(layers)),
        live=_live(layers, modules),
    )


def _cover(below: Cover, above: Cover) -> Cover:
    inherited = {name: getattr(below, name) for name in _INHERITED if getattr(above, name) is None}
    own = {codeset.name for codeset in above.codesets}
    kept = tuple(codeset for codeset in below.codesets if codeset.name not in own)
    return msgspec.structs.replace(
        above,
        **inherited,
        status=above.status or (None if below.status == "base" else below.status),
        header={**(below.header or {}), **(above.header or {})},
        parameters={**below.parameters, **above.parameters},
        codesets=(*kept, *above.codesets),
    )


def _said(layer: Layer, key: str, value: T | None) -> T:
    if value is None:
        raise fault(layer.path, (), f"the collection does not say its `{key}`", f"Write `{key}: ...`.")
    return value


def _first_many(layer: Layer, modules: dict[str, Module]) -> str:
    found = next((module.name for module in modules.values() if module.parent is None and module.many), None)
    return _said(layer, "record", found)


def _placed(module: Module, files: FileMap) -> Module:
    """The module with the path that map.yaml gives it, where it names none itself."""
    path = module.path or files.paths.get(module.name) or module.name
    return msgspec.structs.replace(module, path=path)


def _files(below: FileMap, above: FileMap) -> FileMap:
    return msgspec.structs.replace(
        above, paths={**below.paths, **above.paths}, csv=below.csv if above.csv is None else above.csv
    )


def _modules(below: dict[str, Module], layer: Layer) -> dict[str, Module]:
    found = dict(below)
    for place, name in enumerate(layer.cover.drop):
        _drop(found, name, layer, place)
    for place, module in enumerate(layer.cover.modules):
        if module.name in list(_names(layer.cover.modules[:place])):
            raise fault(
                layer.path, ("modules", place), f"the module {module.name} stands twice", "Keep one of them."
            )
        found[module.name] = _module(found.get(module.name), module)
    return found


def _names(modules: tuple[Module, ...]) -> list[str]:
    return [module.name for module in modules]


def _module(below: Module | None, above: Module) -> Module:
    """A module written again: its keys count, its items are laid over those it had."""
    if below is None:
        return above
    items = {**below.by_name, **above.by_name}
    return msgspec.structs.replace(
        above,
        path=above.path or below.path,
        parent=above.parent or below.parent,
        title=above.title or below.title,
        description=above.description or below.description,
        entity=above.entity or below.entity,
        also_at=above.also_at or below.also_at,
        set=above.set or below.set,
        order=above.order or below.order,
        identity=above.identity or below.identity,
        items=tuple(items.values()),
    )


def _live(layers: list[Layer], modules: dict[str, Module]) -> dict[str, tuple[Live, ...]]:
    """How modules are made from the record. Of what is inherited, items that the year no longer has are left out."""
    found: dict[str, tuple[Live, ...]] = {}
    for layer in layers[:-1]:
        found |= layer.live
    kept = {
        name: tuple(_without(live, modules[name]) for live in sources)
        for name, sources in found.items()
        if name in modules
    }
    return {**kept, **layers[-1].live}


def _without(live: Live, module: Module) -> Live:
    return msgspec.structs.replace(
        live,
        items={name: text for name, text in live.items.items() if name in module.by_name},
        set={name: text for name, text in live.set.items() if name in module.by_name},
    )


def _drop(found: dict[str, Module], name: str, layer: Layer, place: int) -> None:
    module, _, item = name.partition(".")
    if module not in found or (item and item not in found[module].by_name):
        raise fault(
            layer.path, ("drop", place), f"what it inherits has no `{name}`", "Name a module, or Module.Item."
        )
    if not item:
        del found[module]
        return
    items = tuple(kept for kept in found[module].items if kept.name != item)
    found[module] = msgspec.structs.replace(found[module], items=items)


def _rules(below: dict[str, Rule], layer: Layer) -> dict[str, Rule]:
    found = dict(below)
    for place, code in enumerate(layer.cover.retire):
        if found.pop(code, None) is None:
            raise fault(
                layer.path, ("retire", place), f"what it inherits has no rule {code}", "Leave it out."
            )
    for place, change in enumerate(layer.cover.change):
        if change.code not in found:
            raise fault(
                layer.path, ("change", place), f"what it inherits has no rule {change.code}", "Leave it out."
            )
        found[change.code] = _changed(found[change.code], change)
    return {**found, **layer.rules}


def _changed(rule: Rule, change: Change) -> Rule:
    said = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
    return msgspec.structs.replace(rule, **said)
