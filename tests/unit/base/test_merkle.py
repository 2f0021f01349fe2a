"""The Merkle tree against the definitions of RFC 6962, written down again as plainly as they stand there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom import merkle
from commonroom.merkle import Frontier

# Test vectors of RFC 6962 implementations (certificate-transparency, merkle_tree tests): leaves and roots.
LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243")]
LEAVES += [bytes.fromhex("5051525354555657"), bytes.fromhex("606162636465666768696a6b6c6d6e6f")]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)

sizes = st.integers(1, 130)


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(size)]


def split_of(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def plain_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split_of(len(leaves))
    return hashlib.sha256(b"\x01" + plain_root(leaves[:k]) + plain_root(leaves[k:])).digest()


def plain_path(position: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split_of(len(leaves))
    if position < k:
        return [*plain_path(position, leaves[:k]), plain_root(leaves[k:])]
    return [*plain_path(position - k, leaves[k:]), plain_root(leaves[:k])]


def plain_proof(old: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [plain_root(leaves)]
    k = split_of(len(leaves))
    if old <= k:
        return [*plain_proof(old, leaves[:k], whole), plain_root(leaves[k:])]
    return [*plain_proof(old - k, leaves[k:], False), plain_root(leaves[:k])]


def answers(ranges: Sequence[merkle.Range], leaves: Sequence[bytes]) -> list[bytes]:
    """The hashes of ranges, from the hashes of complete subtrees alone."""
    return [
        merkle.fold([plain_root(leaves[i << level : (i + 1) << level]) for level, i in merkle.peaks_of(span)])
        for span in ranges
    ]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert merkle.root_of([merkle.leaf_hash(data) for data in LEAVES[:size]]).hex() == ROOTS[size - 1]


@given(st.integers(0, 130))
def test_a_growing_tree_has_the_root_of_the_whole_at_every_size(size: int) -> None:
    leaves = leaves_of(size)
    frontier = Frontier()
    nodes = [made for leaf in leaves for made in frontier.append(leaf)]
    assert frontier.root() == plain_root(leaves)
    assert len(frontier.peaks) <= max(size.bit_length(), 0)
    assert all(value == plain_root(leaves[i << level : (i + 1) << level]) for (level, i), value in nodes)
    resumed = Frontier(frontier.size, frontier.peaks)
    more = leaves_of(size + 3)[size:]
    for leaf in more:
        resumed.append(leaf)
    assert resumed.root() == plain_root([*leaves, *more])


@given(st.data(), sizes)
def test_inclusion_proofs_are_those_of_the_rfc_and_verify(data: st.DataObject, size: int) -> None:
    leaves, position = leaves_of(size), data.draw(st.integers(0, size - 1))
    proof = answers(merkle.inclusion_ranges(position, size), leaves)
    assert proof == plain_path(position, leaves)
    assert merkle.verify_inclusion(leaves[position], position, size, proof, plain_root(leaves))


@given(st.integers(0, 130))
def test_the_proofs_of_all_leaves_at_once_are_those_of_the_rfc(size: int) -> None:
    leaves = leaves_of(size)
    root, proofs = merkle.inclusion_proofs(leaves)
    assert root == plain_root(leaves)
    assert proofs == [plain_path(position, leaves) for position in range(size)]


@given(st.data(), st.integers(2, 130))
def test_a_proof_leads_to_one_place_of_one_tree_alone(data: st.DataObject, size: int) -> None:
    """Another position never leads to the root: whoever vouches for root and size vouches for the position too."""
    leaves, position = leaves_of(size), data.draw(st.integers(0, size - 1))
    root, proof = plain_root(leaves), plain_path(position, leaves)
    places = [
        other for other in range(size) if merkle.root_from(leaves[position], other, size, proof) == root
    ]
    assert places == [position]


@given(st.data(), sizes)
def test_consistency_proofs_are_those_of_the_rfc_and_verify(data: st.DataObject, size: int) -> None:
    leaves, old = leaves_of(size), data.draw(st.integers(1, size))
    proof = answers(merkle.consistency_ranges(old, size), leaves)
    assert proof == plain_proof(old, leaves)
    assert merkle.verify_consistency(old, plain_root(leaves[:old]), size, plain_root(leaves), proof)


@given(st.data(), st.integers(2, 130))
def test_a_proof_with_any_one_thing_changed_does_not_verify(data: st.DataObject, size: int) -> None:
    leaves = leaves_of(size)
    position, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    root = plain_root(leaves)
    path, proof = plain_path(position, leaves), plain_proof(old, leaves)
    leaf, old_root = leaves[position], plain_root(leaves[:old])
    other = merkle.leaf_hash(b"other")
    assert not merkle.verify_inclusion(other, position, size, path, root)
    assert not merkle.verify_inclusion(leaf, (position + 1) % size, size, path, root)
    assert not merkle.verify_inclusion(leaf, position, size, path[:-1], root)
    assert not merkle.verify_inclusion(leaf, position, size, [*path, other], root)
    assert not merkle.verify_inclusion(leaf, position, size, path, other)
    assert not merkle.verify_consistency(old, other, size, root, proof)
    assert not merkle.verify_consistency(old, old_root, size, other, proof)
    assert not merkle.verify_consistency(old, old_root, size, root, proof[:-1])
    assert not merkle.verify_consistency(old, old_root, size, root, [*proof, other])
    changed = data.draw(st.integers(0, len(proof) - 1))
    assert not merkle.verify_consistency(
        old, old_root, size, root, [*proof[:changed], other, *proof[changed + 1 :]]
    )


def test_a_position_or_a_size_outside_the_tree_is_refused() -> None:
    for position, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(ValueError, match="no position"):
            merkle.inclusion_ranges(position, size)
    for old, size in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="does not begin"):
            merkle.consistency_ranges(old, size)
    with pytest.raises(ValueError, match="complete subtrees"):
        Frontier(3, [merkle.EMPTY_ROOT])
