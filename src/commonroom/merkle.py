"""A Merkle tree as RFC 6962 (and RFC 9162) has it, over SHA-256: roots, inclusion proofs, consistency proofs.

Pure: knows no entries and no database. A range `(first, last)` of leaves is half open. Who keeps the hashes of complete
subtrees answers the ranges of a proof from `peaks_of`, so that a proof reads O(log n) hashes and never the whole log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

_sha256 = hashlib.sha256
EMPTY_ROOT = hashlib.sha256(b"").digest()

Range = tuple[int, int]


class Node(NamedTuple):
    """A complete subtree: the leaves from `place << level` to `(place + 1) << level`, the last one not included."""

    level: int
    place: int


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf; another prefix than inner nodes have, so that neither can pass for the other."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root over complete subtrees that stand side by side, largest first."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


class Frontier:
    """A tree that only grows, as the O(log n) hashes of its complete subtrees, largest first."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Go on from `size` leaves and their peaks. Raises ValueError when there are not as many as there must be."""
        if size < 0 or len(peaks) != size.bit_count():
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} complete subtrees, not {len(peaks)}"
            )
        self.size = size
        self.peaks = list(peaks)

    def append(self, leaf: bytes) -> list[tuple[Node, bytes]]:
        """Add a leaf hash at position `size`; the inner nodes it completes, lowest first."""
        completed: list[tuple[Node, bytes]] = []
        level, place, found = 0, self.size, leaf
        while place & 1:
            found = node_hash(self.peaks.pop(), found)
            level, place = level + 1, place >> 1
            completed.append((Node(level, place), found))
        self.peaks.append(found)
        self.size += 1
        return completed

    def extend(self, leaves: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
        """`append` for many, a level at a time; of each level from 1 on the nodes completed, as (place, hash)."""
        heights = [level for level in range(self.size.bit_length()) if self.size >> level & 1]
        before = dict(zip(reversed(heights), self.peaks, strict=True))
        completed: list[list[tuple[int, bytes]]] = []
        row, first, level, peaks = list(leaves), self.size, 0, dict[int, bytes]()
        while row or before:
            if first & 1:
                row.insert(0, before.pop(level))
                first -= 1
            if len(row) & 1:
                peaks[level] = row[-1]
            row = [
                _sha256(b"\x01" + left + right).digest()
                for left, right in zip(row[::2], row[1::2], strict=False)
            ]
            first, level = first >> 1, level + 1
            if row:
                completed.append(list(enumerate(row, first)))
        self.size += len(leaves)
        self.peaks = [peaks[height] for height in sorted(peaks, reverse=True)]
        return completed

    def root(self) -> bytes:
        """The root of the tree as it is."""
        return fold(self.peaks)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def peaks_of(leaves: Range) -> list[Node]:
    """The complete subtrees a range of a proof is made of, largest first: `fold` of their hashes is its hash."""
    first, last = leaves
    nodes: list[Node] = []
    while first < last:
        level = (last - first).bit_length() - 1
        nodes.append(Node(level, first >> level))
        first += 1 << level
    return nodes


def inclusion_ranges(position: int, size: int) -> list[Range]:
    """The ranges whose hashes are the inclusion proof of one leaf in the tree of `size`, lowest first."""
    if not 0 <= position < size:
        raise ValueError(f"there is no position {position} in a tree of {size}")
    ranges: list[Range] = []
    first, last = 0, size
    while last - first > 1:
        middle = _middle(first, last)
        if position < middle:
            ranges.append((middle, last))
            last = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def consistency_ranges(old: int, size: int) -> list[Range]:
    """The ranges whose hashes prove that the tree of `size` begins with the tree of `old` leaves."""
    if not 0 < old <= size:
        raise ValueError(f"a tree of {size} does not begin with one of {old}")
    ranges: list[Range] = []
    first, last, whole = 0, size, True
    while old != last:
        middle = _middle(first, last)
        if old <= middle:
            ranges.append((middle, last))
            last = middle
        else:
            ranges.append((first, middle))
            first, whole = middle, False
    if not whole:
        ranges.append((first, last))
    return ranges[::-1]


def inclusion_proofs(leaves: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """The root over these leaf hashes and the inclusion proof of each, for who holds all of them."""
    root, paths = inclusion_paths(leaves)
    return root, [[path[first : first + 32] for first in range(0, len(path), 32)] for path in paths]


def inclusion_paths(leaves: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """The same with the hashes of each proof joined."""
    if not leaves:
        return EMPTY_ROOT, []
    rows = [list(leaves)]
    while len(row := rows[-1]) > 1:
        pairs = zip(row[::2], row[1::2], strict=False)
        above = [_sha256(b"\x01" + left + right).digest() for left, right in pairs]
        rows.append([*above, row[-1]] if len(row) & 1 else above)
    paths = [b""]
    for row in rows[-2::-1]:
        # Of each node its sibling, and then the way on from the node above, which both have in common.
        below = [
            path
            for left, right, on in zip(row[::2], row[1::2], paths, strict=False)
            for path in (right + on, left + on)
        ]
        paths = [*below, paths[-1]] if len(row) & 1 else below  # the last of an odd row goes up as it is
    return rows[-1][0], paths


def root_from(leaf: bytes, position: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root of the tree of this size that this inclusion proof leads to; None when it can be no proof of one."""
    if not 0 <= position < size:
        return None
    node, last, found = position, size - 1, leaf
    for step in proof:
        if last == 0:
            return None
        if node & 1 or node == last:
            found = node_hash(step, found)
            node, last = _up_to_right_child(node, last)
        else:
            found = node_hash(found, step)
        node, last = node >> 1, last >> 1
    return found if last == 0 else None


def verify_inclusion(leaf: bytes, position: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the tree of this size and root has this leaf hash at this position (RFC 9162 section 2.1.3.2)."""
    return root_from(leaf, position, size, proof) == root


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `size` begins with the tree of `old` leaves (RFC 9162 section 2.1.4.2)."""
    if not 0 < old <= size:
        return False
    if old == size:
        return not proof and old_root == root
    steps = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not steps:
        return False
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(step, before), node_hash(step, after)
            node, last = _up_to_right_child(node, last)
        else:
            after = node_hash(after, step)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and after == root


def _middle(first: int, last: int) -> int:
    """Where a range of two or more splits: after the largest power of two that is smaller than it."""
    return first + (1 << ((last - first - 1).bit_length() - 1))


def _up_to_right_child(node: int, last: int) -> tuple[int, int]:
    """Skip the levels at which the last node has no sibling."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last
