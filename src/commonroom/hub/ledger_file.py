"""The exported ledger: a file that anybody can verify without us, and the verifier.

JSON lines, each exactly the canonical form of what it says, so that no byte can be another one unseen: first a line about
the file with the public keys, then every entry in the order of the tree, each with its leaf hash, and after the entries
that it covers every signed head. The file ends with its newest head. It holds digests of bodies, envelopes and reasons
and names of organisations; no bodies and no personal data. Both ways read and write line by line.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from commonroom.hub import proofs
from commonroom.hub.ledger_form import (
    LedgerEntry,
    PublicKey,
    SignedHead,
    canonical,
    is_signed_by,
    key_id,
    leaf_of,
)
from commonroom.hub.proofs import head_of
from commonroom.hub.sequencer import CHUNK, ENTRY, entry_of, merged
from commonroom.merkle import Frontier
from commonroom.problems import Problem

MAX_LINE = 64 * 1024
MAX_FINDINGS = 100


class About(
    msgspec.Struct, frozen=True, kw_only=True, tag="ledger", tag_field="kind", forbid_unknown_fields=True
):
    """The first line."""

    form: Literal[1] = 1
    heads: int
    keys: list[PublicKey]
    size: int


class EntryLine(
    msgspec.Struct, frozen=True, kw_only=True, tag="entry", tag_field="kind", forbid_unknown_fields=True
):
    """One entry and the hash it entered the tree with, hex."""

    entry: LedgerEntry
    leaf: str


class HeadLine(
    msgspec.Struct, frozen=True, kw_only=True, tag="head", tag_field="kind", forbid_unknown_fields=True
):
    """One signed head."""

    head: SignedHead


class Verdict(msgspec.Struct, kw_only=True):
    """What a verifier found. `faults` is empty when all is as the heads say; it names at most MAX_FINDINGS."""

    entries: int = 0
    heads: int = 0
    bodies: int = 0  # compared with their digests (database alone)
    sealed: int = 0  # bodies that were not compared, for want of the master keys (database alone)
    purged: int = 0  # bodies past their retention: gone as agreed, digest kept (database alone)
    pinned: bool = False  # whether heads were checked against a key that did not come with the ledger
    faults: list[str] = msgspec.field(default_factory=list)

    def fault(self, text: str) -> None:
        """Note a fault."""
        if len(self.faults) < MAX_FINDINGS:
            self.faults.append(text)


_SIZE = "SELECT coalesce(max(size), 0) AS size, count(*) AS heads FROM hub.ledger_head"
_HEADS = "SELECT size, root, time, key, signature FROM hub.ledger_head ORDER BY size"
_SINGLES = f"""
{ENTRY}, t.position AS place, t.entry AS number, t.hash
FROM hub.ledger_leaf t
LEFT JOIN hub.ledger e ON e.entry = t.entry
LEFT JOIN hub.message m ON m.position = e.message
WHERE t.position < $1
ORDER BY t.position
"""
_OF_GROUPS = f"""
{ENTRY}, t.position + leaf.ordinal - 1 AS place, t.ledger_group AS number,
    substring(t.hashes FROM 32 * leaf.ordinal - 31 FOR 32) AS hash
FROM hub.ledger_leaf_group t
CROSS JOIN LATERAL generate_series(1, (length(t.hashes) + 31) / 32) AS leaf(ordinal)
LEFT JOIN hub.ledger_group_entry e ON e.ledger_group = t.ledger_group AND e.ordinal = leaf.ordinal
LEFT JOIN hub.message m ON m.id = e.message_id
WHERE t.position < $1
ORDER BY t.position, leaf.ordinal
"""


def leaves(connection: Any, size: int) -> AsyncIterator[tuple[bool, Any]]:
    """Each leaf's row with that of its entry, up to this size of the tree; where the entry is gone, it is None."""
    return merged(
        connection.cursor(_SINGLES, size, prefetch=CHUNK),
        connection.cursor(_OF_GROUPS, size, prefetch=CHUNK),
        "place",
    )


async def export(connection: Any, file: Path) -> About:
    """Write the ledger up to its newest signed head; the file has its name when it is whole.

    Raises Problem CR-131 while nothing is signed, CR-130 when an entry is missing in the database.
    """
    draft = file.with_name(f".{file.name}.part")
    try:
        with draft.open("wb") as out:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                about = await _write(connection, out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return about


async def _write(connection: Any, out: io.BufferedWriter) -> About:
    await proofs.newest_head(connection)
    row = await connection.fetchrow(_SIZE)
    about = About(heads=row["heads"], keys=await proofs.published_keys(connection), size=row["size"])
    _put(out, about)
    heads = [head_of(found) for found in await connection.fetch(_HEADS)][::-1]
    position = 0
    async for _, found in leaves(connection, about.size):
        if found["entry"] is None:
            raise Problem(
                "CR-130",
                f"The entry at position {position} is gone from the database.",
                where="hub.ledger",
                remedy="`commonroom ledger verify --database` names all that is wrong.",
            )
        _put(out, EntryLine(entry=entry_of(found), leaf=found["hash"].hex()))
        position += 1
        while heads and heads[-1].size == position:
            _put(out, HeadLine(head=heads.pop()))
    return about


def _put(out: io.BufferedWriter, line: msgspec.Struct) -> None:
    out.write(canonical(line) + b"\n")


def verify(file: Path, pinned: list[PublicKey] | None = None) -> Verdict:
    """Check an exported file against the heads in it; with `pinned`, heads must be signed by one of those keys.

    Raises Problem CR-004 or CR-130 when it cannot be read as an exported ledger at all.
    """
    verdict = Verdict(pinned=pinned is not None)
    try:
        with file.open("rb") as source:
            _verify(source, file, pinned, verdict)
    except OSError as error:
        raise Problem("CR-004", f"The file cannot be read: {error.strerror}.", where=str(file)) from error
    return verdict


def _verify(source: io.BufferedReader, file: Path, pinned: list[PublicKey] | None, verdict: Verdict) -> None:
    lines = enumerate(_lines(source), 1)
    try:
        about = _line(next(lines)[1])
    except (StopIteration, ValueError):
        about = None
    if not isinstance(about, About):
        remedy = "Export it again with `commonroom ledger export`."
        raise Problem(
            "CR-130",
            "The first line is not that of an exported ledger.",
            where=f"{file}, line 1",
            remedy=remedy,
        )
    checker = HeadChecker(check_keys(about.keys, pinned, verdict), verdict)
    frontier, last = Frontier(), 0
    for number, raw in lines:
        where = f"line {number}"
        try:
            line = _line(raw)
        except ValueError as error:
            verdict.fault(f"{where}: {error}")
            continue
        if isinstance(line, EntryLine):
            leaf = leaf_of(line.entry)
            if leaf.hex() != line.leaf:
                verdict.fault(
                    f"{where}: the entry at position {frontier.size} is not the one of its leaf hash"
                )
            frontier.append(leaf)
        elif isinstance(line, HeadLine):
            checker.check(line.head, frontier, where)
            last = number
        else:
            verdict.fault(f"{where}: a second first line")
    verdict.entries = frontier.size
    if (frontier.size, verdict.heads) != (about.size, about.heads):
        verdict.fault(
            f"line 1: says {about.size} entries and {about.heads} heads; "
            f"the file has {frontier.size} and {verdict.heads}"
        )
    if checker.covered != frontier.size or not last:
        verdict.fault(
            f"after line {last}: {frontier.size - checker.covered} entries that no signed head covers"
        )


class HeadChecker:
    """Compares signed heads, in rising order, with the tree as it is recomputed."""

    def __init__(self, keys: list[PublicKey], verdict: Verdict) -> None:
        self.covered = 0  # entries under the newest head so far
        self._keys = {key.kid: key.x for key in keys}
        self._verdict = verdict

    def check(self, head: SignedHead, frontier: Frontier, where: str) -> None:
        """Check a head when the tree has its size."""
        first, self.covered = self.covered, frontier.size
        self._verdict.heads += 1
        key = self._keys.get(head.key)
        if key is None:
            self._verdict.fault(
                f"{where}: the head of {head.size} entries is signed with a key that is not known"
            )
        elif not is_signed_by(head, key):
            self._verdict.fault(f"{where}: the signature of the head of {head.size} entries is not good")
        if head.size != frontier.size:
            self._verdict.fault(
                f"{where}: the head is of {head.size} entries and stands after {frontier.size}"
            )
        elif head.root != frontier.root().hex():
            self._verdict.fault(
                f"{where}: the entries at positions {first} to {frontier.size - 1}, or earlier ones, "
                f"are not those that the head of {head.size} was signed for"
            )


def check_keys(given: list[PublicKey], pinned: list[PublicKey] | None, verdict: Verdict) -> list[PublicKey]:
    """The keys to check heads with. Every key must carry its own thumbprint; pinned keys win over given ones."""
    for key in given:
        if not _is_itself(key):
            verdict.fault(f"keys: the key named {key.kid} is another one")
        elif pinned is not None and key not in pinned:
            verdict.fault(f"keys: the key {key.kid} is not one of those you trust")
    return given if pinned is None else pinned


def load_keys(file: Path) -> list[PublicKey]:
    """Public keys from a file with what GET /ledger/keys answered, or one JWK. Raises Problem CR-133."""
    try:
        found = msgspec.json.decode(file.read_bytes())
        keys = msgspec.convert(found.get("keys", [found]), list[PublicKey])
    except (OSError, AttributeError, msgspec.DecodeError, UnicodeDecodeError):
        keys = []
    if not keys or not all(_is_itself(key) for key in keys):
        raise Problem(
            "CR-133",
            "The file holds no public key of a ledger.",
            where=str(file),
            remedy="Save what GET /ledger/keys answers, at a time when you trust it.",
        )
    return keys


def _is_itself(key: PublicKey) -> bool:
    return key_id(key.x) == key.kid


_LINE: msgspec.json.Decoder[About | EntryLine | HeadLine] = msgspec.json.Decoder(About | EntryLine | HeadLine)


def _line(raw: bytes) -> About | EntryLine | HeadLine:
    """The line, which must be exactly the canonical form of what it says. Raises ValueError with what is wrong."""
    try:
        line = _LINE.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("this is no line of a ledger") from None
    if canonical(line) + b"\n" != raw:
        raise ValueError("this is not the canonical form")
    return line


def _lines(source: io.BufferedReader) -> Iterator[bytes]:
    while raw := source.readline(MAX_LINE):
        yield raw
