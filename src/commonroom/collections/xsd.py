"""The XML Schema of a collection, made of its declarations; and files held against it, record by record.

For makers of software who check their files with tools of their own. It says what the built-in rules say and, beyond them,
in which order the elements stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from commonroom.collections.findings import Place, Raised, shortened
from commonroom.collections.model import Collection, ColumnDef
from commonroom.collections.predicates import language_of
from commonroom.collections.xml_map import GROUP, ITEM, Node, Plan, XmlMap, xml_map
from commonroom.standard import load as load_standard

# The built-in rule under which the findings stand.
SCHEMA = "schema"
# What is found in a file beyond this is only counted.
MOST_FINDINGS = 1_000

_XS = "http://www.w3.org/2001/XMLSchema"
_TYPES = {
    "string": "xs:string",
    "code": "xs:string",
    "integer": "xs:integer",
    "decimal": "xs:decimal",
    "date": "xs:date",
    "datetime": "xs:dateTime",
    "time": "xs:string",
    "boolean": "xs:string",
}
_BOOLEANS = ("0", "1", "false", "true", "Y", "N", "yes", "no")
# A time of day is read with or without its seconds, which xs:time always has.
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?"
_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "huge_tree": False,
    "load_dtd": False,
    "remove_comments": True,
    "remove_pis": True,
}


def schema_of(collection: Collection) -> bytes:
    """The schema document. Every record's element stands at its top level too, so that one record can be checked alone."""
    document = _Writer(collection).document()
    return bytes(etree.tostring(document, pretty_print=True, xml_declaration=True, encoding="UTF-8"))


def against_schema(collection: Collection, path: Path) -> Iterator[Raised]:
    """What the schema finds in a file that `xml_in` can read, in bounded memory."""
    places = xml_map(collection)
    schema = etree.XMLSchema(etree.fromstring(schema_of(collection)))
    seen: dict[str, int] = {}
    found = 0
    for _, element in etree.iterparse(str(path), events=("end",), tag=tuple(places.tops), **_OPTIONS):
        plan = places.tops[element.tag][0]
        if tuple(above.tag for above in reversed([element, *element.iterancestors()])) != plan.steps:
            continue
        seen[element.tag] = ordinal = seen.get(element.tag, 0) + 1
        if not schema.validate(element):
            where = Place(plan.module.name, None, None, None, path=f"{plan.module.name}[{ordinal}]")
            for entry in schema.error_log:
                found += 1
                if found <= MOST_FINDINGS:
                    yield Raised(SCHEMA, "error", shortened(entry.message) or "", (where,))
        _make_room(element)
    if found > MOST_FINDINGS:
        message = f"The schema finds {found - MOST_FINDINGS:,} more faults."
        yield Raised(SCHEMA, "error", message, (Place(collection.record, None, None, None, path=""),))


def _make_room(element: Any) -> None:
    element.clear()
    while element.getprevious() is not None:
        element.getparent().remove(element.getprevious())


class _Writer:
    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._map: XmlMap = xml_map(collection)
        self._language = language_of(collection)
        self._open = {name for name, codeset in load_standard().codesets.items() if codeset.open}
        self._open -= set(collection.codesets)
        self._open |= {name for name, codeset in collection.codesets.items() if codeset.open}

    def document(self) -> Any:
        namespace = self._collection.files.namespace
        prefixes: dict[str | None, str] = {"xs": _XS} | ({None: namespace} if namespace else {})
        document = etree.Element(_xs("schema"), nsmap=prefixes)
        if namespace:
            document.set("targetNamespace", namespace)
            document.set("elementFormDefault", "qualified")
        tops = [plan for plans in self._map.plans.values() for plan in plans if plan.module.parent is None]
        self._frame(document, (self._map.root,), tops)
        for plan in tops:
            self._module(document, plan, within=False)
        return document

    def _frame(self, parent: Any, steps: tuple[str, ...], tops: list[Plan], within: bool = False) -> None:
        """An element above the records: it holds what stands right below it, in the order of the modules."""
        inside = [plan for plan in tops if plan.steps[: len(steps)] == steps]
        element = self._element(parent, steps[-1])
        if within and not any(plan.module.required for plan in inside):
            element.set("minOccurs", "0")
        sequence = _sequence(element)
        for step in dict.fromkeys(plan.steps[: len(steps) + 1] for plan in inside):
            own = [plan for plan in inside if plan.steps == step]
            if own:
                self._reference(sequence, own[0])
            else:
                self._frame(sequence, step, inside, within=True)

    def _reference(self, sequence: Any, plan: Plan) -> None:
        element = etree.SubElement(sequence, _xs("element"), ref=_local(plan.steps[-1]))
        _often(element, plan.module.required, plan.module.many)

    def _module(self, parent: Any, plan: Plan, within: bool = True, in_group: bool = False) -> None:
        element = self._element(parent, plan.steps[-1])
        if within:
            # A group that is there has something in it.
            _often(element, plan.module.required or in_group, plan.module.many)
        if plan.own >= 0:
            self._type(element, plan.module.items[plan.own])
        else:
            self._nodes(_sequence(element), plan.node, plan)

    def _nodes(self, sequence: Any, node: Node, plan: Plan, in_group: bool = False) -> None:
        for tag, (kind, what) in node.items():
            if kind == ITEM and isinstance(what, int):
                item = plan.module.items[what]
                element = self._element(sequence, tag)
                _often(element, item.required, many=False)
                self._type(element, item)
            elif kind == GROUP and isinstance(what, dict):
                element = self._element(sequence, tag)
                _often(element, _is_required(what, plan), many=False)
                self._nodes(_sequence(element), what, plan, in_group=True)
            elif isinstance(what, Plan):
                self._module(sequence, what, in_group=in_group)

    def _element(self, parent: Any, tag: str) -> Any:
        return etree.SubElement(parent, _xs("element"), name=_local(tag))

    def _type(self, element: Any, item: ColumnDef) -> None:
        """The type of an item: a plain one, or one with what else is declared."""
        facets = list(self._facets(item))
        if not facets:
            element.set("type", _TYPES[item.type])
            return
        simple = etree.SubElement(element, _xs("simpleType"))
        restriction = etree.SubElement(simple, _xs("restriction"), base=_TYPES[item.type])
        for name, value in facets:
            etree.SubElement(restriction, _xs(name), value=value)

    def _facets(self, item: ColumnDef) -> Iterator[tuple[str, str]]:
        if item.type == "boolean":
            yield from (("enumeration", word) for word in _BOOLEANS)
        elif item.type == "time":
            yield "pattern", _TIME
        elif item.codeset is not None and item.codeset not in self._open:
            yield from (("enumeration", code) for code in self._language.codes(item.codeset))
        if item.length is not None:
            yield "maxLength", str(item.length)
        if item.pattern is not None:
            yield "pattern", item.pattern
        if item.minimum is not None:
            yield "minInclusive", item.minimum
        if item.maximum is not None:
            yield "maxInclusive", item.maximum


def _is_required(node: Node, plan: Plan) -> bool:
    """True where something in a group must be there."""
    return any(
        (isinstance(what, int) and plan.module.items[what].required)
        or (isinstance(what, dict) and _is_required(what, plan))
        or (isinstance(what, Plan) and what.module.required)
        for _, what in node.values()
    )


def _often(element: Any, required: bool, many: bool) -> None:
    if not required:
        element.set("minOccurs", "0")
    if many:
        element.set("maxOccurs", "unbounded")


def _sequence(element: Any) -> Any:
    return etree.SubElement(etree.SubElement(element, _xs("complexType")), _xs("sequence"))


def _xs(name: str) -> str:
    return f"{{{_XS}}}{name}"


def _local(tag: str) -> str:
    return str(etree.QName(tag).localname)
