"""The data dictionary as pages that need no script and no server: one for each entity and code set, with links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from commonroom.standard.definitions import common_data_definitions
from commonroom.standard.loader import load
from commonroom.standard.model import Code, Codeset, Entity, Event, Item, Standard
from commonroom.standard.versions import differences, versions

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; color: #0b0c0c; background: #fff; margin: 0 auto; max-width: 72rem;
       padding: 0 1rem 3rem; }
a { color: #12436d; } a:focus-visible { outline: 3px solid #ffc845; }
nav { padding: 1rem 0; border-bottom: 1px solid #9db8c9; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 2rem; }
caption { text-align: left; font-weight: bold; padding: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #d0d7dc; }
.wide { overflow-x: auto; } code { font-family: ui-monospace, monospace; }
@media print { nav { display: none; } }
"""


class _Html(str):
    """Text that is HTML already; every other text is escaped."""

    __slots__ = ()


Cell = str | int | None


def files(standard: Standard) -> dict[str, str]:
    """Every page by file name."""
    pages = {"index.html": _index(standard)}
    pages |= {f"entity-{name}.html": _entity(standard, one) for name, one in standard.entities.items()}
    pages |= {f"code-set-{name}.html": _codeset(standard, one) for name, one in standard.codesets.items()}
    if standard.version == load().version:
        pages["versions.html"] = _versions(standard)
        pages["common-data-definitions.html"] = _definitions(standard)
    return pages


def _index(standard: Standard) -> str:
    parts = [_paragraph(standard.description)]
    if standard.version == load().version:
        links = (
            _link("versions.html", "What changed"),
            _link("common-data-definitions.html", "Common Data Definitions"),
        )
        parts.append(_Html(f"<p>{' · '.join(links)}</p>"))
    for area, title in standard.areas.items():
        rows = [
            (_entity_link(one), one.description, len(one.items))
            for one in standard.entities.values()
            if one.area == area
        ]
        parts.append(_table(title, ("Entity", "What it is", "Items"), rows))
    codesets = [(_codeset_link(one), one.description, len(one.codes)) for one in standard.codesets.values()]
    parts.append(_table("Code sets", ("Code set", "What it lists", "Codes"), codesets))
    messages = [(_code_text(one.type), one.title, one.description) for one in _shared_messages(standard)]
    parts.append(_table("Messages", ("Type", "Title", "When it is sent"), messages))
    said = "Besides these, every entity has a message of its own that tells of its changes."
    return _page(standard, standard.title, [*parts, _paragraph(said)])


def _shared_messages(standard: Standard) -> list[Event]:
    return [one for one in standard.events.values() if not one.type.endswith(".changed")]


def _entity(standard: Standard, entity: Entity) -> str:
    facts = [
        ("Name in messages", _code_text(entity.name)),
        ("Area", standard.areas[entity.area]),
        ("Key", ", ".join(entity.key)),
        ("Who may send it", _holder(entity)),
        ("Valid from", entity.valid_from_item or "given with each record"),
    ]
    columns = ("Item", "Title", "What it is", "Type", "Required", "Personal", "CBDS", "Days")
    rows = [_item_row(standard, item) for item in entity.items]
    carried = [
        (_code_text(event.type), event.description)
        for event in standard.events.values()
        if entity.name in event.entities
    ]
    return _page(
        standard,
        entity.title,
        [
            _paragraph(entity.description),
            _table("At a glance", ("What", "Value"), facts),
            _table("Items", columns, rows),
            _table("Messages that carry it", ("Type", "When it is sent"), carried),
        ],
    )


def _holder(entity: Entity) -> str:
    if entity.holder is None:
        return "the register of providers"
    return f"the party that the item {entity.holder} names"


def _item_row(standard: Standard, item: Item) -> Sequence[Cell]:
    numbers = " ".join(number for number in (item.cbds, item.cbds_now) if number)
    return (
        _code_text(item.name),
        item.title,
        item.description,
        _type(standard, item),
        "yes" if item.required else "",
        "yes" if item.personal else "",
        numbers,
        _days(item),
    )


def _type(standard: Standard, item: Item) -> str:
    match item.type:
        case "code":
            return _Html(f"code: {_codeset_link(standard.codesets[item.codeset or ''])}")
        case "identifier":
            return item.identifier or ""
        case "string":
            return f"text, up to {item.max_length}"
        case "decimal":
            return f"decimal, {item.digits} digits, {item.decimals} behind the point"
        case _:
            return {"integer": "whole number", "boolean": "true or false"}.get(item.type, item.type)


def _codeset(standard: Standard, codeset: Codeset) -> str:
    columns = ("Code", "Meaning", "Days", "Note", *codeset.attributes)
    rows = [_code_row(code, tuple(codeset.attributes)) for code in codeset.codes]
    facts: list[Sequence[Cell]] = [
        ("Name in messages", _code_text(codeset.name)),
        ("Source", codeset.source),
        (
            "Open",
            "yes: an unknown code is worth a query" if codeset.open else "no: an unknown code is an error",
        ),
        *((f"Attribute {name}", meaning) for name, meaning in codeset.attributes.items()),
    ]
    used = [
        (_entity_link(entity), _code_text(item.name), item.title)
        for entity in standard.entities.values()
        for item in entity.items
        if item.codeset == codeset.name
    ]
    return _page(
        standard,
        codeset.title,
        [
            _paragraph(codeset.description),
            _table("At a glance", ("What", "Value"), facts),
            _table("Codes", columns, rows),
            _table("Items that use it", ("Entity", "Item", "Title"), used),
        ],
    )


def _code_row(code: Code, attributes: Sequence[str]) -> Sequence[Cell]:
    title = f"{code.title} (invented)" if code.invented else code.title
    return (
        _code_text(code.code),
        title,
        _days(code),
        code.note,
        *(code.attributes[name] for name in attributes),
    )


def _versions(standard: Standard) -> str:
    known = versions()
    parts = []
    for older, newer in zip(reversed(known[:-1]), reversed(known[1:]), strict=True):
        rows = [(one.kind, _code_text(one.place), one.why, one.breaks) for one in differences(older, newer)]
        parts.append(_table(f"From {older} to {newer}", ("Change", "Where", "Why", "What it breaks"), rows))
    return _page(standard, "What changed", parts or [_paragraph("This is the first version.")])


def _definitions(standard: Standard) -> str:
    published = common_data_definitions()
    uln = [
        (_entity_link(standard.entities[one.entity]), one.uln, one.when, one.source)
        for one in published.entities
    ]
    rows = [
        (
            item.title,
            _entity_link(entity),
            _code_text(item.name),
            item.description,
            _type(standard, item),
            item.cbds,
        )
        for entity, item in published.items()
    ]
    columns = ("Definition", "Entity", "Item", "What it is", "Type", "CBDS")
    return _page(
        standard,
        published.title,
        [
            _paragraph(published.description),
            _table("Where a ULN is mandatory", ("Entity", "ULN", "When", "Source"), uln),
            _table("Definitions", columns, rows),
        ],
    )


def _page(standard: Standard, title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    name = escape(f"{title} - standard {standard.version}")
    home = _link("index.html", f"Data dictionary {standard.version}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{name}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<nav>{home}</nav>\n<main>\n<h1>{escape(title)}</h1>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    lines = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return _Html(
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def _cell(value: Cell) -> str:
    return f"<td>{value if isinstance(value, _Html) else _prose('' if value is None else str(value))}</td>"


def _paragraph(text: str) -> str:
    return _Html(f"<p>{_prose(text)}</p>")


def _prose(text: str) -> str:
    """A sentence as HTML; what stands between backticks is a name."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _code_text(text: str) -> str:
    return _Html(f"<code>{escape(text)}</code>")


def _link(target: str, text: str) -> str:
    return _Html(f'<a href="{escape(target, quote=True)}">{escape(text)}</a>')


def _entity_link(entity: Entity) -> str:
    return _link(f"entity-{entity.name}.html", entity.title)


def _codeset_link(codeset: Codeset) -> str:
    return _link(f"code-set-{codeset.name}.html", codeset.title)


def _days(dated: Code | Item) -> str:
    if dated.since and dated.until:
        return f"{dated.since} to {dated.until}"
    if dated.since:
        return f"from {dated.since}"
    return f"to {dated.until}" if dated.until else ""
