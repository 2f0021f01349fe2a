"""Reads an XML return into tables, record by record, in bounded memory; a hostile file ends in a clear problem.

The parser resolves no entities, opens no network and keeps libxml2's limits of depth, names and text. A document type
declaration is refused as such. Only what belongs to one record is in memory at a time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lxml import etree

from commonroom.collections.findings import Place, Raised
from commonroom.collections.model import Collection
from commonroom.collections.records import Rows
from commonroom.collections.tables import BATCH, CURRENT, Tables
from commonroom.collections.xml_faults import Unknown, forbidden, other_collection, short, syntax
from commonroom.collections.xml_map import GROUP, ITEM, Node, Plan, XmlMap, xml_map
from commonroom.problems import Problem

_CHUNK = 256 * 1024
# What may stand before the root element.
_PROLOG = 64 * 1024
# Bytes read after which waiting rows are written, however few.
_FLUSH = 64 * 1024 * 1024
_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "huge_tree": False,
    "recover": False,
    "load_dtd": False,
    "remove_comments": True,
    "remove_pis": True,
    "remove_blank_text": True,
}


def read_xml(path: Path, tables: Tables, schema: str = CURRENT) -> list[Raised]:
    """Read a file into the tables of `schema`; what it found on the way. Raises Problem CR-190 to CR-193.

    After a problem the tables hold a part of the return and must not be used.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return read_stream(file, tables, schema, path.name, size)
    except OSError as error:
        raise Problem(
            "CR-190",
            f"the file cannot be opened ({error.strerror})",
            where=str(path),
            remedy="Check the path.",
        ) from error


def read_stream(
    file: IO[bytes], tables: Tables, schema: str = CURRENT, name: str = "the return", size: int = 0
) -> list[Raised]:
    """As `read_xml`, from something that can be read and rewound. `name` is what problems call it."""
    if size > tables.limits.file_bytes:
        raise Problem(
            "CR-192", f"the file has {size:,} bytes; {tables.limits.file_bytes:,} are the most", where=name
        )
    return _Reader(tables, schema, name).read(file)


def look(file: IO[bytes], name: str) -> tuple[str, str]:
    """Root element and encoding of an XML file, read to there. Raises Problem CR-190 and CR-191; rewinds the file."""
    parser = etree.XMLPullParser(events=("start",), **_OPTIONS)
    taken, prolog = 0, b""
    try:
        while taken < _PROLOG:
            chunk = file.read(4096)
            if not chunk:
                break
            taken += len(chunk)
            prolog += chunk
            parser.feed(chunk)
            for _, root in parser.read_events():
                document = root.getroottree().docinfo
                if document.internalDTD is not None or document.doctype:
                    raise forbidden(name)
                return str(root.tag), document.encoding or "UTF-8"
    except etree.XMLSyntaxError as error:
        # In UTF-16 every second byte is zero.
        declared = b"<!DOCTYPE" in prolog.replace(b"\0", b"")
        raise forbidden(name) if declared else syntax(error, parser, name, ended=False) from error
    finally:
        file.seek(0)
    if not taken:
        raise Problem("CR-190", "the file is empty", where=name, remedy="Export the return again.")
    if b"<!DOCTYPE" in prolog.replace(b"\0", b""):
        raise forbidden(name)
    if taken >= _PROLOG:
        raise Problem(
            "CR-192",
            f"no element begins and ends its start tag in the first {_PROLOG:,} bytes",
            where=name,
            remedy="Take long comments and attributes out of its beginning; a return has none.",
        )
    raise Problem(
        "CR-190", "the file is not XML: it has no element", where=name, remedy="Export the return again."
    )


@contextmanager
def _no_collection_of_garbage() -> Iterator[None]:
    """The rows that wait are many lists without a cycle; looking through them again and again would take half the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Reader:
    def __init__(self, tables: Tables, schema: str, name: str) -> None:
        self._tables = tables
        self._schema = schema
        self._name = name
        self._collection: Collection = tables.collection
        self._map: XmlMap = xml_map(tables.collection)
        self._rows = Rows(tables, schema)
        modules = list(tables.collection.modules)
        self._buffers = [self._rows.buffers[module] for module in modules]
        self._append: list[Callable[[list[Any]], None]] = []
        self._widths = [len(module.items) for module in tables.collection.modules.values()]
        self._keys = [0] * len(modules)
        self._unknown = Unknown()
        self._repeated: list[Raised] = []
        # Ordinals of top modules.
        self._tops = [0] * len(modules)
        self._find_attributes = etree.XPath("boolean(.//@*)", smart_strings=False)

    def read(self, file: IO[bytes]) -> list[Raised]:
        root, _ = look(file, self._name)
        if root != self._map.root:
            raise Problem(
                "CR-193",
                f"the file begins with {short(root)}, a file of {self._collection.title} with {self._map.root}",
                where=self._name,
                remedy="Choose the collection that the file is of.",
            )
        parser = etree.XMLPullParser(events=("end",), tag=tuple(self._map.tops), **_OPTIONS)
        try:
            with _no_collection_of_garbage():
                self._feed(file, parser)
        except etree.XMLSyntaxError as error:
            raise syntax(error, parser, self._name, ended=False) from error
        try:
            end = parser.close()
        except etree.XMLSyntaxError as error:
            raise syntax(error, parser, self._name, ended=True) from error
        self._records(parser)
        self._skeleton(end)
        self._rows.flush()
        return [*self._repeated, *self._unknown.findings()]

    def _feed(self, file: IO[bytes], parser: Any) -> None:
        since_record = since_flush = 0
        while chunk := file.read(_CHUNK):
            parser.feed(chunk)
            since_record = len(chunk) if self._records(parser) else since_record + len(chunk)
            since_flush += len(chunk)
            if since_record > self._tables.limits.record_bytes:
                raise Problem(
                    "CR-192",
                    f"{since_record:,} bytes belong to no record, or all to one; "
                    f"{self._tables.limits.record_bytes:,} are the most",
                    where=self._name,
                    remedy="Check that the file is of this collection, and that every element is closed.",
                )
            if since_flush > _FLUSH:
                self._rows.flush()
                since_flush = 0
            self._write_batches()

    def _write_batches(self) -> None:
        for buffer in self._buffers:
            if len(buffer.rows) >= BATCH:
                self._tables.insert(self._schema, buffer)

    def _records(self, parser: Any) -> int:
        """Read the top modules that are whole by now; how many."""
        found = 0
        for _, element in parser.read_events():
            plan = self._plan_of(element)
            if plan is not None:
                self._top(element, plan)
                found += 1
        return found

    def _plan_of(self, element: Any) -> Plan | None:
        """The plan of a top module's element; None where it stands in a wrong place."""
        steps = [element.tag]
        above = element.getparent()
        while above is not None:
            steps.append(above.tag)
            above = above.getparent()
        path = tuple(reversed(steps))
        return next((plan for plan in self._map.tops[element.tag] if plan.steps == path), None)

    def _top(self, element: Any, plan: Plan) -> None:
        self._tops[plan.number] += 1
        self._row(element, plan, 0, None, self._tops[plan.number])
        if plan.module.name == "Header" and self._schema == CURRENT:
            self._check_collection(plan)
        if self._find_attributes(element):
            for inner in element.iter():
                for name in inner.attrib:
                    self._unknown.note("attribute", short(name), plan.module.name, self._keys[plan.number])
        # What is read makes room; its own place stays until the parser is past it.
        element.clear(keep_tail=True)
        before = element.getprevious()
        while before is not None:
            if before.tag not in self._map.tops or self._plan_of(before) is None:
                self._strange(before, "", None)
            self._stray(before.tail, "", None)
            before.getparent().remove(before)
            before = element.getprevious()

    def _row(self, element: Any, plan: Plan, parent: int, person: int | None, ordinal: int) -> None:
        number = plan.number
        self._keys[number] = key = self._keys[number] + 1
        row: list[Any] = [
            key,
            parent,
            key if person is None else person,
            ordinal,
            *([None] * self._widths[number]),
        ]
        for place, value in plan.fixed.items():
            row[place + 4] = value
        if plan.own >= 0:
            text = element.text
            row[plan.own + 4] = (text.strip() or None) if text else None
            if len(element):
                self._walk(element, plan.node, row, plan, {})
        else:
            if element.text is not None:
                self._stray(element.text, plan.module.name, key)
            self._walk(element, plan.node, row, plan, {})
        buffer = self._buffers[number]
        buffer.rows.append(row)
        buffer.count = key

    def _walk(self, element: Any, node: Node, row: list[Any], plan: Plan, counts: dict[int, int]) -> None:
        """The elements below: items of the row, groups of them, rows of modules below."""
        for child in element:
            step = node.get(child.tag)
            if step is None:
                self._strange(child, plan.module.name, row[0])
            elif step[0] == ITEM:
                text = child.text
                if text is not None and (text := text.strip()):
                    place: int = step[1] + 4  # type: ignore[operator]
                    if row[place] is None:
                        row[place] = text
                    else:
                        self._repeat(text, plan.module.items[place - 4].name, row[0], plan)
                if len(child):
                    self._strange_below(child, plan.module.name, row[0])
            elif step[0] == GROUP:
                if child.text is not None:
                    self._stray(child.text, plan.module.name, row[0])
                self._walk(child, step[1], row, plan, counts)  # type: ignore[arg-type]
            else:
                below: Plan = step[1]  # type: ignore[assignment]
                counts[below.number] = ordinal = counts.get(below.number, 0) + 1
                self._row(child, below, row[0], row[2], ordinal)
            if child.tail is not None:
                self._stray(child.tail, plan.module.name, row[0])

    def _repeat(self, text: str, item: str, row: int, plan: Plan) -> None:
        module = plan.module.name
        message = f"{item} stands more than once in {module}."
        self._repeated.append(Raised("repeated", "error", message, (Place(module, item, row, text),)))

    def _strange(self, element: Any, module: str, row: int | None) -> None:
        self._unknown.note("element", short(element.tag), module, row)

    def _strange_below(self, element: Any, module: str, row: int | None) -> None:
        for child in element:
            self._strange(child, module, row)

    def _stray(self, text: str | None, module: str, row: int | None) -> None:
        if text is not None and not text.isspace():
            self._unknown.note("text", "", module, row)

    def _skeleton(self, root: Any) -> None:
        """What is left when all records are read: elements that stand where nothing is expected."""
        waiting: list[tuple[Any, tuple[str, ...]]] = [(root, (root.tag,))]
        while waiting:
            element, path = waiting.pop()
            for child in element:
                below = (*path, child.tag)
                if below in self._map.frames:
                    waiting.append((child, below))
                elif not any(plan.steps == below for plan in self._map.tops.get(child.tag, ())):
                    self._strange(child, "", None)
                self._stray(child.tail, "", None)
            self._stray(element.text, "", None)
        for name in root.attrib:
            if not name.startswith("{http://www.w3.org/2001/XMLSchema-instance}"):
                self._unknown.note("attribute", short(name), "", None)

    def _check_collection(self, plan: Plan) -> None:
        wanted = self._collection.header.get("Collection")
        if wanted is None:
            return
        names = [item.name for item in plan.module.items]
        says = self._buffers[plan.number].rows[-1][4 + names.index("Collection")]
        if says is not None and says != wanted:
            raise other_collection(self._collection, says, self._name)
