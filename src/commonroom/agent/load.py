"""Loading: received record sets into the tables of a store, each message exactly once.

The rows and the note that the message was loaded are one transaction of the store's own database, so a message that comes
again after a kill changes nothing. Of two versions of a record the higher stays, whatever the order of arrival.

Whoever first speaks of a natural key is the only one whose records of it are taken: without that, any sender could write
over another's rows with its keys and higher versions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    create_engine,
    event,
    inspect,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import TableClause, column, table
from sqlalchemy.types import NullType

from commonroom.agent.findings import Finding
from commonroom.agent.mapping import Load, StoreMapping
from commonroom.agent.source import reason
from commonroom.exchange import Letter, RecordSet, check_digest, record_set_of
from commonroom.problems import Problem
from commonroom.standard import (
    Note,
    Standard,
    check_dataschema,
    check_records,
    check_withdrawn,
    upgrade_records,
)

INBOX = Table("commonroom_inbox", MetaData(), Column("message", Text, primary_key=True))
KINDS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
BUSY_SECONDS = 30

FIXED = ("valid_from", "record_version", "withdrawn", "sender")
KEYS_AT_ONCE = 100  # in one statement: databases limit its parameters and its depth

Key = tuple[str, ...]


class Loaded(msgspec.Struct, frozen=True):
    """The fate of one letter: `refused` says why it cannot be used; empty when it is in the store."""

    refused: str = ""
    repeated: bool = False  # it was in the store before
    records: int = 0
    findings: list[
        Finding
    ] = []  # records that were left out, and what an older version said beyond the present one


class _NothingLeft(Exception):
    """Every record of a message belongs to another sender: nothing is to be written, not even that it came."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__()
        self.findings = findings


class Store:
    """The database that received records go to. Not for two threads at once."""

    def __init__(self, url: URL, mapping: StoreMapping, mapping_name: str, standard: Standard) -> None:
        if url.get_backend_name() not in KINDS:
            raise Problem(
                "CR-070",
                f"a store cannot be {url.get_backend_name()}",
                where=mapping_name,
                remedy=f"Use one of: {', '.join(KINDS)}.",
            )
        self._url = url
        self._mapping_name = mapping_name
        self._loads = {load.entity: load for load in mapping.loads}
        self._standard = standard
        self._engine: Engine | None = None

    def load(self, letters: Sequence[Letter]) -> list[Loaded]:
        """Load letters, in order; the fate of each. Raises Problem CR-073 when the store cannot be used now."""
        prepared = [self._read(letter) for letter in letters]
        try:
            engine = self._open()
            return [
                self._load(engine, letter, ready) for letter, ready in zip(letters, prepared, strict=True)
            ]
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self.close()
            raise Problem(
                "CR-073",
                f"the store cannot be written ({reason(error)})",
                where=self._url.render_as_string(hide_password=True),
                remedy="The letters stay in the mailbox. Check the database and the agent's rights in it.",
            ) from error

    def close(self) -> None:
        """Let go of the store."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _open(self) -> Engine:
        if self._engine is None:
            engine = _engine(self._url)
            INBOX.metadata.create_all(engine)
            self._check_tables(engine)
            self._engine = engine
        return self._engine

    def _check_tables(self, engine: Engine) -> None:
        """Raise Problem CR-070 naming the mapping, the table and what it lacks."""
        inspector = inspect(engine)
        for load in self._loads.values():
            where, remedy = f"{self._mapping_name}, {load.entity}", "Correct the mapping, or make the table."
            if not inspector.has_table(load.table):
                raise Problem("CR-070", f"the store has no table {load.table}", where=where, remedy=remedy)
            there = {found["name"] for found in inspector.get_columns(load.table)}
            if missing := sorted({*load.columns.values(), *FIXED} - there):
                detail = f"the table {load.table} has no column {', '.join(missing)}"
                raise Problem("CR-070", detail, where=where, remedy=remedy)

    def _read(self, letter: Letter) -> tuple[RecordSet, Loaded]:
        """As `_prepare`; a letter that brings the reading itself to a fall is refused, or it would come for ever."""
        try:
            return self._prepare(letter)
        except MemoryError:
            raise  # nothing is wrong with the letter
        except Exception as error:
            refused = f"It cannot be read ({type(error).__name__})."
            return RecordSet(standard=self._standard.version), Loaded(refused=refused)

    def _prepare(self, letter: Letter) -> tuple[RecordSet, Loaded]:
        """The usable part of a letter, and what will be said of it."""
        empty = RecordSet(standard=self._standard.version)
        try:
            found = record_set_of(letter)
            check_digest(letter.envelope, letter.body)
            check_dataschema(letter.envelope.dataschema, found.standard)
            present = upgrade_records(found.standard, found.records, found.withdrawn, found.rekeyed)
        except Problem as problem:
            return empty, Loaded(refused=str(problem))
        found = RecordSet(
            standard=self._standard.version,
            records=present.records,
            withdrawn=present.withdrawn,
            rekeyed=present.rekeyed,
        )
        if any(found.rekeyed.values()):
            return empty, Loaded(refused="This end point cannot load changed keys: withdraw and send anew.")
        known = self._standard.events.get(letter.envelope.type)
        if known is None:
            return empty, Loaded(refused=f"No message type of standard {self._standard.version}.")
        if others := {*found.records, *found.withdrawn} - set(known.entities):
            detail = (
                f"{known.type} may hold {', '.join(known.entities)}; it holds {len(others)} other entities."
            )
            return empty, Loaded(refused=detail)
        return self._checked(letter, found, present.notes)

    def _checked(self, letter: Letter, found: RecordSet, notes: Sequence[Note]) -> tuple[RecordSet, Loaded]:
        good: dict[str, dict[str, list[dict[str, Any]]]] = {"records": {}, "withdrawn": {}}
        findings: list[Finding] = []
        for part, entities, check in (
            ("records", found.records, check_records),
            ("withdrawn", found.withdrawn, check_withdrawn),
        ):
            for entity, records in entities.items():
                checked = check(entity, records)
                usable = [record for record in checked.good if _is_placed(record)]
                findings += [
                    self._finding(letter, one) for one in checked.findings if one.severity == "error"
                ]
                good[part][entity] = usable
        kept = RecordSet(standard=found.standard, records=good["records"], withdrawn=good["withdrawn"])
        count = _count(kept)
        if count == 0:
            return kept, Loaded(refused=_why_nothing(findings), findings=findings)
        return kept, Loaded(records=count, findings=[*findings, *(_upgraded(letter, one) for one in notes)])

    def _finding(self, letter: Letter, found: Any) -> Finding:
        return Finding(
            mapping=f"message {letter.envelope.id} from {letter.envelope.source}",
            entity=found.entity,
            key={item: str(value) for item, value in found.key.items() if value is not None},
            item=found.item,
            rule=found.rule,
            message=found.message,
            remedy="The sender corrects it.",
            value="" if found.value is None else str(found.value),
        )

    def _load(self, engine: Engine, letter: Letter, prepared: tuple[RecordSet, Loaded]) -> Loaded:
        records, outcome = prepared
        if outcome.refused:
            return outcome
        try:
            with engine.begin() as connection:
                if not self._note(connection, letter):
                    return Loaded(repeated=True)
                foreign = self._write(connection, letter, records)
                if len(foreign) == outcome.records:
                    raise _NothingLeft(foreign)
        except _NothingLeft as nothing:
            refused = "All of its records belong to another sender."
            return Loaded(refused=refused, findings=outcome.findings + nothing.findings)
        except (IntegrityError, DataError) as error:
            return Loaded(refused=f"The store cannot hold a record of it ({type(error.orig).__name__}).")
        except StatementError as error:
            if error.orig is None or isinstance(error.orig, TypeError | ValueError):
                return Loaded(refused="The store cannot hold a value of it.")
            raise
        left = outcome.records - len(foreign)
        return msgspec.structs.replace(outcome, records=left, findings=outcome.findings + foreign)

    def _note(self, connection: Connection, letter: Letter) -> bool:
        """Write down that this message is loaded; False when it was before."""
        message = f"{letter.envelope.source} {letter.envelope.id}"
        if connection.execute(select(INBOX.c.message).where(INBOX.c.message == message)).first():
            return False
        connection.execute(INBOX.insert().values(message=message))
        return True

    def _write(self, connection: Connection, letter: Letter, records: RecordSet) -> list[Finding]:
        """Write what the sender may speak of; a finding for each record that another sender was first to speak of."""
        sender = letter.envelope.source
        foreign: list[Finding] = []
        for entity, load in self._loads.items():
            keys = {item: load.columns[item] for item in self._standard.entities[entity].key}
            parts = ((records.records, load.columns, False), (records.withdrawn, keys, True))
            for part, columns, withdrawn in parts:
                if not (found := part.get(entity)):
                    continue
                taken = _taken(connection, load, keys, found, sender)
                foreign += [_foreign(letter, entity, keys, one) for one in found if _key(keys, one) in taken]
                own = [record for record in found if _key(keys, record) not in taken]
                rows = [{**_row(load, one, columns), "withdrawn": withdrawn, "sender": sender} for one in own]
                if rows:
                    connection.execute(self._upsert(load, entity, list(columns.values())), rows)
        return foreign

    def _upsert(self, load: Load, entity: str, names: Sequence[str]) -> Any:
        """INSERT, or UPDATE where the version is higher and the sender is the same."""
        target = _table(load)
        keys = [load.columns[item] for item in self._standard.entities[entity].key]
        written = [*names, *FIXED]
        statement: Any = KINDS[self._url.get_backend_name()](target)
        statement = statement.values(dict.fromkeys(written))
        return statement.on_conflict_do_update(
            index_elements=[*keys, "valid_from"],
            set_={name: statement.excluded[name] for name in written if name not in (*keys, "valid_from")},
            where=and_(
                target.c.record_version < statement.excluded.record_version,
                or_(target.c.sender.is_(None), target.c.sender == statement.excluded.sender),
            ),
        )


def _table(load: Load) -> TableClause:
    return table(load.table, *(column(name) for name in dict.fromkeys((*load.columns.values(), *FIXED))))


def _taken(
    connection: Connection, load: Load, keys: dict[str, str], records: Sequence[dict[str, Any]], sender: str
) -> set[Key]:
    """The natural keys of these records under which another sender's rows stand."""
    target = _table(load)
    names = [target.c[name] for name in keys.values()]
    taken: set[Key] = set()
    for some in _in_parts(sorted({_key(keys, record) for record in records})):
        # Each value without a type, so that the database takes it for whatever the column is.
        same = [
            and_(
                *(name == bindparam(None, value, NullType()) for name, value in zip(names, key, strict=True))
            )
            for key in some
        ]
        found = connection.execute(select(*names).where(or_(*same), target.c.sender != sender))
        taken.update(tuple(map(str, row)) for row in found)
    return taken


def _in_parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]


def _key(items: dict[str, str], record: dict[str, Any]) -> Key:
    return tuple(str(record[item]) for item in items)


def _foreign(letter: Letter, entity: str, items: dict[str, str], record: dict[str, Any]) -> Finding:
    return Finding(
        mapping=f"message {letter.envelope.id} from {letter.envelope.source}",
        entity=entity,
        key=dict(zip(items, _key(items, record), strict=True)),
        rule="another-sender",
        message="another sender was the first to speak of this record, so this one was left out",
        remedy="Ask both whose record it is; the column `sender` of the store says who was first.",
    )


def _upgraded(letter: Letter, note: Note) -> Finding:
    return Finding(
        mapping=f"message {letter.envelope.id} from {letter.envelope.source}",
        entity=note.entity,
        item=note.item,
        rule="standard-upgraded",
        severity="query",
        message=note.message,
        remedy=note.remedy,
    )


def _row(load: Load, record: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
    row = {column: record.get(item) for item, column in columns.items()}
    return {**row, "valid_from": record["valid_from"], "record_version": record["version"]}


def _is_placed(record: dict[str, Any]) -> bool:
    """True when the record says which version of which fact it is."""
    return isinstance(record.get("version"), int) and record.get("valid_from") is not None


def _count(records: RecordSet) -> int:
    return sum(len(found) for part in (records.records, records.withdrawn) for found in part.values())


def _why_nothing(findings: Sequence[Finding]) -> str:
    if not findings:
        return "It holds no record with a version and a valid_from."
    first = findings[0]
    return (
        f"None of its records can be used; the first: {first.entity}, {first.item or 'record'}, {first.rule}."
    )


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, poolclass=NullPool)
    path = str(url.database)

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Python's driver would begin only at the first write; the look into the inbox must be inside too.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
