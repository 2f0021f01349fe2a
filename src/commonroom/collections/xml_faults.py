"""What is wrong with a file before any rule is asked: unknown parts are findings, an unreadable file is a problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from commonroom.collections.findings import Place, Raised
from commonroom.collections.model import Collection
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-190": "The return cannot be read",
        "CR-191": "The return holds what it must not",
        "CR-192": "The return is too large",
        "CR-193": "The file is of another collection",
    }
)

# Different unknown elements that are told of, and places of each.
_MOST_UNKNOWN, _MOST_PLACES = 200, 20
_MORE = "\0"
_ENCODING = (6, 7, 9, 31, 32, 81, 1544, 6003)
_ENTITY = (26, 27, 28, 89)
_LIMIT = (62, 110, 114, 116)


class Unknown:
    """Elements, attributes and texts that the collection does not have, each told of once with its first places."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], tuple[list[tuple[str, int | None]], int]] = {}

    def note(self, kind: str, name: str, module: str, row: int | None) -> None:
        """`kind` is element, attribute or text, found in the row of a module (None: outside every record)."""
        key = (kind, name, module)
        if key not in self._found and len(self._found) >= _MOST_UNKNOWN:
            key = (kind, _MORE, "")
        places, count = self._found.get(key, ([], 0))
        if len(places) < _MOST_PLACES:
            places.append((module, row))
        self._found[key] = (places, count + 1)

    def findings(self) -> Iterator[Raised]:
        """One finding for each thing that is unknown."""
        for (kind, name, module), (places, count) in self._found.items():
            times = f", {count:,} times" if count > 1 else ""
            inside = f" in {module}" if module else ""
            message = {
                "element": f"There is no element {name}{inside}{times}.",
                "attribute": f"There is no attribute {name}{inside}{times}.",
                "text": f"Text stands outside the items{inside}{times}.",
            }[kind]
            if name == _MORE:
                message = f"There are more unknown {kind}s{times}."
            item = name.strip(_MORE) or None
            yield Raised(
                "unknown-element",
                "error",
                message,
                tuple(Place(of, item, row, None, path=None if row else "", row_of=of) for of, row in places),
            )


def other_collection(collection: Collection, says: str, name: str) -> Problem:
    """The problem of a file whose header names another collection."""
    return Problem(
        "CR-193",
        f"the header says collection {short(says)}, not {collection.header['Collection']}",
        where=f"{name}, Header[1]",
        remedy="Choose the collection that the file is of.",
    )


def short(name: Any) -> str:
    text = str(name)
    return text if len(text) <= 60 else f"{text[:60]}..."


def forbidden(name: str) -> Problem:
    return Problem(
        "CR-191",
        "the file has a document type declaration (<!DOCTYPE), which could hide entities",
        where=name,
        remedy="Export the return without it.",
    )


def syntax(error: Any, parser: Any, name: str, ended: bool) -> Problem:
    """The parser's fault in our words: its own may quote the file."""
    # The exception itself may be about no more than the tree that did not come; the log says why.
    log = list(parser.feed_error_log)
    code = log[-1].type if log else error.code or 0
    line, column = (log[-1].line, log[-1].column) if log else error.position or (0, 0)
    said = str(log[-1].message if log else error.msg).lower()
    where = f"{name}, line {line}, column {column}" if line else name
    remedy = "Export the return again, or correct it there."
    if code in _LIMIT or "limit" in said or "too long" in said:
        return Problem(
            "CR-192", "a name, a value or the depth of elements is beyond all measure", where=where
        )
    if code in _ENTITY or "entity" in said:
        return Problem(
            "CR-191", "the file names an entity that XML does not have", where=where, remedy=remedy
        )
    if code in _ENCODING:
        remedy = "Save the file in the encoding that its first line says; UTF-8 where it says none."
        return Problem("CR-190", "the file is not in the encoding that it says", where=where, remedy=remedy)
    if ended:
        return Problem("CR-190", "the file ends before its last element does", where=where, remedy=remedy)
    return Problem("CR-190", "the file is not well-formed XML", where=where, remedy=remedy)
