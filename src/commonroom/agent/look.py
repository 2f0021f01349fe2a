"""One look: read the source, find what changed, remember it and put the letters in the outbox, as one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from commonroom.agent import letters, outbox, recall, transfers
from commonroom.agent.changes import Changes, compare
from commonroom.agent.config import Config
from commonroom.agent.findings import Finding
from commonroom.agent.judge import CLASH, clash, digests, judge, query_failed, seed
from commonroom.agent.letters import Letter
from commonroom.agent.losses import ACCEPTED, HELD_BACK, accepted_losses, loss, lost_much
from commonroom.agent.mapping import SCHOOL, WINDOW_START, Read, load_source, parameters
from commonroom.agent.memory import VERSIONS_FROM, Memory, add_to_note, set_note
from commonroom.agent.recall import RowFinding
from commonroom.agent.source import Failure, Query, Rows, Source
from commonroom.agent.translate import plan
from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.standard import Entity, Standard

BEGINNING = "0001-01-01"  # the :window_start of a full look
FULL_LOOK = "full look"  # the note that says for which day one was done


class Summary(msgspec.Struct, frozen=True):
    """What one look found about one entity."""

    entity: str
    rows: int
    new: int
    corrected: int
    withdrawn: int


class Outcome(msgspec.Struct, frozen=True):
    """What one look did."""

    began: datetime  # UTC, real time
    skipped: bool = False  # nothing was read: the source had not changed
    full: bool = True  # False: only the windows were read
    entities: list[Summary] = []
    letters: list[Letter] = []
    findings: list[Finding] = []  # of this look's new or changed rows
    held_back: dict[str, int] = {}  # entity: keys whose withdrawal waits until somebody confirms it

    @property
    def changes(self) -> int:
        """How many facts the letters tell of."""
        return sum(one.new + one.corrected + one.withdrawn for one in self.entities)


class _Seen(msgspec.Struct, frozen=True):
    """One entity as this look saw it."""

    entity: Entity
    since: str  # facts before this day were not looked at
    rows: int = 0
    # Digests of the rows shown; None: the query could not be used, and all that is known stays as it is.
    shown: frozenset[bytes] | None = None
    changes: Changes = Changes()
    findings: list[RowFinding] = []
    held_back: int = 0  # keys that vanished and are not withdrawn until somebody confirms it


class Looker:
    """Looks again and again at one source. Not for two threads at once.

    Raises Problem CR-001 for a faulty mapping, CR-070 when the configuration has no source or lacks the school.
    """

    def __init__(self, config: Config, standard: Standard) -> None:
        if config.source is None:
            raise Problem("CR-070", "it has no source", where=str(config.file), remedy="Add `source:`.")
        self._config_file = config.file
        self._school = config.school or ""
        self._standard = standard
        self._mapping = load_source(config.source.mapping, standard)
        self._mapping_name = config.source.mapping.name
        self._seed = seed(
            config.source.mapping.read_bytes(), standard.version.encode(), self._school.encode()
        )
        self._source = Source(config.source.url)
        self._version: tuple[int, int] | None = None  # of the source at the last good look
        uses_school = any(SCHOOL in read.parameters for read in self._mapping.reads)
        if not self._school and (uses_school or self._mapping.transfers is not None):
            remedy = "Add `school:` with the URN."
            raise Problem("CR-070", "the mapping needs the school", where=str(config.file), remedy=remedy)

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    def look(self, memory: Memory) -> Outcome:
        """One look. What it finds is in the memory when this returns. Raises Problem CR-072."""
        began = datetime.now(UTC)
        version = self._source.version()
        newest = {
            read.entity: recall.newest(memory, read.entity)
            for read in self._mapping.reads
            if read.window_days is not None
        }
        today = clock.day_of(began)
        accepted = accepted_losses(memory)
        due = memory.note(FULL_LOOK) != self._full_look_mark(today, newest) or bool(accepted)
        if not due and version is not None and version == self._version:
            return Outcome(began, skipped=True, full=False)
        # While withdrawals are held back every look is a full one: a window does not show what vanished before it.
        full = due or bool(memory.note(HELD_BACK))
        starts = {} if full else self._window_starts(newest, today)
        answers = self._source.snapshot(self._queries(starts))
        count = len(self._mapping.reads)
        seen = [
            self._see(read, answer, starts.get(read.entity, BEGINNING), memory, accepted)
            for read, answer in zip(self._mapping.reads, answers[:count], strict=True)
        ]
        with memory.transaction() as connection:
            outcome = self._keep(connection, seen, answers[count:], began, full)
        if full:
            newest = {entity: recall.newest(memory, entity) for entity in newest}
            memory.write_note(FULL_LOOK, self._full_look_mark(today, newest))
        self._version = version
        return outcome

    def _full_look_mark(self, today: date, newest: dict[str, str | None]) -> str:
        """A full look is due for each real day, for each new day in the source, and for another mapping."""
        if not newest:
            return self._seed.hex()
        return f"{self._seed.hex()} {today} {sorted(newest.items(), key=str)}"

    def _window_starts(self, newest: dict[str, str | None], today: date) -> dict[str, str]:
        """Where each windowed read begins: its days before the newest fact known, never later than today."""
        starts = {}
        for read in self._mapping.reads:
            latest = newest.get(read.entity)
            if latest is not None and read.window_days is not None:
                anchor = min(date.fromisoformat(latest), today)
                starts[read.entity] = (anchor - timedelta(days=read.window_days)).isoformat()
        return starts

    def _queries(self, starts: dict[str, str]) -> list[Query]:
        queries = [
            self._query(read.query, starts.get(read.entity, BEGINNING)) for read in self._mapping.reads
        ]
        if self._mapping.transfers is not None:
            queries.append(self._query(self._mapping.transfers.query, BEGINNING))
        return queries

    def _query(self, query: str, start: str) -> Query:
        values = {SCHOOL: self._school, WINDOW_START: start}
        return Query(query, {name: values[name] for name in parameters(query)})

    def _see(
        self, read: Read, answer: Rows | Failure, since: str, memory: Memory, accepted: dict[str, int]
    ) -> _Seen:
        """Compare one query's answer with what is remembered."""
        entity, mapping = self._standard.entities[read.entity], self._mapping_name
        if isinstance(answer, Failure):
            return _Seen(entity, since, findings=[query_failed(read.entity, mapping, answer.reason)])
        planned = plan(read, entity, answer.columns, mapping)
        of_query = [RowFinding(finding) for finding in planned.findings]
        if not planned.usable:
            return _Seen(entity, since, findings=of_query)
        by_digest = dict(zip(digests(answer.rows, self._seed), answer.rows, strict=True))
        shown = frozenset(by_digest)
        rejected = {row: key for row, key in recall.rejected(memory, entity.name, CLASH) if row in shown}
        shown_before = recall.shown_rows(memory, entity.name, since)
        unseen_rows = shown.difference(rejected, shown_before)
        unseen = (
            [(row, values) for row, values in by_digest.items() if row in unseen_rows] if unseen_rows else []
        )
        fresh, bad = judge(entity, planned, unseen, since, mapping)
        held = {key for key in (*rejected.values(), *(one.key for one in bad if one.is_error)) if key}
        touched = {shown_before[row] for row in shown_before.keys() - shown} | {one.key for one in fresh}
        known = recall.facts(memory, entity.name, since, touched)
        versions_from = int(memory.note(VERSIONS_FROM) or 0)
        changes = compare(read.history, known, shown, fresh, held, versions_from)
        lost = loss(changes, shown_before, shown)
        held_back = (
            lost.keys if lost.is_sudden(len(answer.rows)) and lost.keys > accepted.get(entity.name, 0) else 0
        )
        if held_back:
            changes = msgspec.structs.replace(changes, withdrawn=[])
            of_query.append(lost_much(entity.name, mapping, lost, self._config_file))
        clashes = [clash(entity, mapping, record) for record in changes.clashes]
        findings = [*of_query, *bad, *clashes]
        return _Seen(entity, since, len(answer.rows), shown, changes, findings, held_back)

    def _keep(
        self,
        connection: sqlite3.Connection,
        seen: Sequence[_Seen],
        leavers: Sequence[Rows | Failure],
        began: datetime,
        full: bool,
    ) -> Outcome:
        """Write everything this look found, inside one transaction."""
        made: list[Letter] = []
        found: list[RowFinding] = []
        found_at = began.isoformat(timespec="seconds")
        for one in seen:
            made += letters.of_changes(one.entity, one.changes, self._standard)
            found += one.findings
            recall.keep_changes(connection, one.entity.name, one.changes)
            recall.keep_findings(
                connection, one.entity.name, one.findings, one.shown, one.since, CLASH, found_at
            )
        for answer in leavers:
            sent = transfers.compose(connection, answer, self._standard, self._school, self._mapping_name)
            recall.replace_findings(connection, transfers.PLACE, sent.findings, found_at)
            made += sent.letters
            found += sent.findings
        outbox.put(connection, made)
        if full:
            outbox.forget_old(connection)
        outcome = Outcome(
            began,
            full=full,
            entities=[_summary(one) for one in seen],
            letters=made,
            findings=[one.finding for one in found],
            held_back={one.entity.name: one.held_back for one in seen if one.held_back},
        )
        set_note(connection, HELD_BACK, " ".join(outcome.held_back))
        set_note(connection, ACCEPTED, "{}")
        add_to_note(connection, "changes", outcome.changes)
        return outcome


def _summary(seen: _Seen) -> Summary:
    kinds = [sent.kind for sent in seen.changes.sent]
    return Summary(
        seen.entity.name, seen.rows, kinds.count("new"), kinds.count("corrected"), len(seen.changes.withdrawn)
    )
