"""Reads an XML Schema into a flat list of its elements, so that two of them can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lxml import etree

_XS = "{http://www.w3.org/2001/XMLSchema}"


@dataclass(frozen=True)
class Element:
    """How often an element stands in its parent (`unbounded` for any number), and what it may hold."""

    least: str
    most: str
    base: str
    values: frozenset[str]


def elements(document: bytes, root: str) -> dict[str, Element]:
    """Path -> element, in the order of the schema."""
    schema = etree.fromstring(document)
    named = {node.get("name"): node for node in schema if node.get("name")}
    found: dict[str, Element] = {}
    top = next(node for node in schema.iterchildren(f"{_XS}element") if node.get("name") == root)
    _read(top, root, named, found)
    return found


def _read(node: Any, path: str, named: dict[str, Any], found: dict[str, Element]) -> None:
    kind = _type_of(node, named)
    base, values = _simple(node, kind, named)
    found[path] = Element(node.get("minOccurs", "1"), node.get("maxOccurs", "1"), base, values)
    content = kind if kind is not None and kind.tag == f"{_XS}complexType" else node.find(f"{_XS}complexType")
    if content is not None:
        for child in content.iterfind(f"{_XS}sequence/{_XS}element"):
            if child.get("ref"):
                target = named[child.get("ref")]
                _read(target, f"{path}/{child.get('ref')}", named, found)
                own = found[f"{path}/{child.get('ref')}"]
                found[f"{path}/{child.get('ref')}"] = Element(
                    child.get("minOccurs", "1"), child.get("maxOccurs", "1"), own.base, own.values
                )
            else:
                _read(child, f"{path}/{child.get('name')}", named, found)


def _type_of(node: Any, named: dict[str, Any]) -> Any:
    name = node.get("type", "")
    return named.get(name) if name and not name.startswith("xs:") else None


def _simple(node: Any, kind: Any, named: dict[str, Any]) -> tuple[str, frozenset[str]]:
    """The built-in type at the bottom, and the values listed on the way."""
    if kind is None and node.get("type"):
        return str(node.get("type")), frozenset()
    simple = kind if kind is not None and kind.tag == f"{_XS}simpleType" else node.find(f"{_XS}simpleType")
    if simple is None:
        return "", frozenset()
    restriction = simple.find(f"{_XS}restriction")
    values = frozenset(one.get("value") for one in restriction.iterfind(f"{_XS}enumeration"))
    base = restriction.get("base")
    while not base.startswith("xs:"):
        base = named[base].find(f"{_XS}restriction").get("base")
    return base, values
