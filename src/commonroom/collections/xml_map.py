"""Where modules and items stand in an XML file of a collection: worked out once, for reading and for writing."""

from __future__ import annotations

from dataclasses import dataclass, field

from commonroom.collections.model import Collection, ColumnDef, Module
from commonroom.problems import Problem

ITEM, GROUP, MODULE = 0, 1, 2


@dataclass(eq=False)
class Plan:
    """A module at one of its places. `number` is the module's place in the collection."""

    module: Module
    number: int
    # Elements from the root to the row's own.
    steps: tuple[str, ...]
    # Item's place -> value that the place gives it.
    fixed: dict[int, str]
    # Tag -> (ITEM, place of the item) | (GROUP, such a dict) | (MODULE, Plan).
    node: Node = field(default_factory=dict)
    # Place of the item that is the element's own text; -1 for none.
    own: int = -1


# What may stand in an element: tag -> (ITEM, place of the item) | (GROUP, Node) | (MODULE, Plan).
Node = dict[str, tuple[int, "int | Node | Plan"]]


@dataclass(frozen=True)
class XmlMap:
    """The whole map. `plans` has each module's places, in the order of the collection."""

    collection: Collection
    root: str
    # Tag of a top module's element -> its plans.
    tops: dict[str, list[Plan]]
    plans: dict[str, list[Plan]]
    # Paths of elements above the top modules, the root first.
    frames: frozenset[tuple[str, ...]]


def xml_map(collection: Collection) -> XmlMap:
    """The map of a collection. Raises Problem CR-180 where two things would stand in one place."""
    return _Mapper(collection).map()


def row_item(module: Module) -> ColumnDef | None:
    """The item that is the text of the module's own element, if there is one."""
    if len(module.items) == 1 and module.path.rpartition("/")[2] == module.items[0].name:
        return module.items[0] if module.items[0].path in (None, ".") else None
    return next((item for item in module.items if item.path == "."), None)


class _Mapper:
    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._prefix = f"{{{collection.files.namespace}}}" if collection.files.namespace else ""
        self._root = collection.files.root
        self._numbers = {name: number for number, name in enumerate(collection.modules)}
        self._plans: dict[str, list[Plan]] = {}

    def map(self) -> XmlMap:
        for module in self._collection.modules.values():
            self._plan(module)
        tops: dict[str, list[Plan]] = {}
        frames: set[tuple[str, ...]] = {(self._tag(self._root),)}
        for module in self._collection.children(None):
            for plan in self._plans[module.name]:
                tops.setdefault(plan.steps[-1], []).append(plan)
                frames |= {plan.steps[:length] for length in range(1, len(plan.steps))}
        for plan in (plan for plans in self._plans.values() for plan in plans):
            self._put_in_order(plan)
        return XmlMap(self._collection, self._tag(self._root), tops, self._plans, frozenset(frames))

    def _plan(self, module: Module) -> list[Plan]:
        if module.name not in self._plans:
            places = [(module.path, module.set), *((place.path, place.set) for place in module.also_at)]
            self._plans[module.name] = [
                made for path, given in places for made in self._places(module, path, given)
            ]
        return self._plans[module.name]

    def _places(self, module: Module, path: str, given: dict[str, str]) -> list[Plan]:
        """The module at one path: below each place of its parent."""
        steps = tuple(path.split("/"))
        if module.parent is None:
            whole = steps if steps[0] == self._root else (self._root, *steps)
            return [self._make(module, tuple(map(self._tag, whole)), given)]
        found = []
        above = self._plan(self._collection.modules[module.parent])
        if steps[0] == self._root:
            base = tuple(step.removeprefix(self._prefix) for step in above[0].steps)
            if steps[: len(base)] != base or len(steps) == len(base):
                raise self._fault(module, f"the path {path} does not lead on from {'/'.join(base)}")
            steps = steps[len(base) :]
        for parent in above:
            plan = self._make(module, (*parent.steps, *map(self._tag, steps)), given)
            self._put(parent.node, steps, (MODULE, plan), module)
            found.append(plan)
        return found

    def _make(self, module: Module, steps: tuple[str, ...], given: dict[str, str]) -> Plan:
        places = {item.name: place for place, item in enumerate(module.items)}
        plan = Plan(
            module, self._numbers[module.name], steps, {places[name]: value for name, value in given.items()}
        )
        own = row_item(module)
        elsewhere = {*module.set, *(name for place in module.also_at for name in place.set)}
        for place, item in enumerate(module.items):
            if item is own:
                plan.own = place
            elif item.name not in elsewhere:
                self._put(plan.node, tuple(item.element.split("/")), (ITEM, place), module)
        return plan

    def _put(self, node: Node, steps: tuple[str, ...], what: tuple[int, int | Plan], module: Module) -> None:
        *groups, last = map(self._tag, steps)
        for tag in groups:
            kind, below = node.setdefault(tag, (GROUP, {}))
            if kind != GROUP or not isinstance(below, dict):
                raise self._fault(module, f"the element {tag} is an item or a module, and a group too")
            node = below
        if last in node:
            raise self._fault(module, f"the element {last} stands for two things")
        node[last] = what

    def _put_in_order(self, plan: Plan) -> None:
        """The elements in the order that the module declares, for writing; those it does not name come after."""
        wanted: dict[str, int] = {}
        for place, name in enumerate(plan.module.order):
            item = plan.module.by_name.get(name)
            path = item.element if item else "/".join(self._plans[name][0].steps[len(plan.steps) :])
            wanted.setdefault(path.split("/")[0] if item is None else self._tag(path.split("/")[0]), place)
        entries = sorted(plan.node.items(), key=lambda entry: wanted.get(entry[0], len(wanted)))
        plan.node.clear()
        plan.node.update(entries)

    def _tag(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _fault(self, module: Module, detail: str) -> Problem:
        return Problem(
            "CR-180",
            f"module {module.name}: {detail}.",
            where=self._collection.folders[0],
            remedy="docs/collections.md says how paths are written.",
        )
