"""Names and postcodes in columns: levels as the scalar comparisons find them, and no pair thought worth less than it is."""

from __future__ import annotations

import random

import numpy as np
import pytest

from commonroom.registers.learners.matching import compare, levels
from commonroom.registers.learners.matching.name_levels import NAME, NameLevels
from commonroom.registers.learners.matching.parameters import names
from commonroom.registers.learners.matching.phonetics import soundex
from commonroom.registers.learners.matching.vocabulary import Vocabulary

COUNT = 6_000
JUDGES = {"given": compare.given_level, "family": compare.family_level}


def slip(random_: random.Random, name: str) -> str:
    """A letter changed, left out, put in or changed places, or a space put in."""
    place = random_.randrange(len(name))
    letter = random_.choice("abcdefghijklmnopqrstuvwxyz1")
    front, behind = name[:place], name[place + 1 :]
    written = random_.choice(
        (
            front + letter + behind,
            front + behind,
            f"{front}{letter}{name[place]}{behind}",
            f"{front} {name[place]}{behind}",
            front[:-1] + name[place] + front[-1:] + behind,
        )
    )
    return " ".join(written.split()) or "x"


def pairs_of_names(kind: str) -> tuple[list[str], list[str]]:
    """Strangers' names, forms of one name, slips, endings, initials and double names."""
    random_ = random.Random(20)
    table, forms = list(names().share[kind]), list(names().groups[kind])
    one, other = [], []
    for _ in range(COUNT):
        left = random_.choice(table if random_.random() < 0.8 else forms)
        right = random_.choice(
            (
                random_.choice(table),
                random_.choice(forms),
                slip(random_, left),
                slip(random_, slip(random_, left)),
                left + random_.choice(("ova", "eva", "a", "e", "s", "")),
                left[0],
            )
        )
        if kind == "family" and random_.random() < 0.1:
            left, right = random_.choice(((left, f"{left} {right}"), (f"{right} {left}", f"{left} x")))
        one.append(left.partition(" ")[0] if kind == "given" else left)
        other.append(right.partition(" ")[0] if kind == "given" else right)
    return one, other


@pytest.mark.parametrize("kind", ["given", "family"])
def test_names_agree_at_the_levels_of_the_scalar_comparison(kind: str) -> None:
    one, other = pairs_of_names(kind)
    vocabulary = Vocabulary()
    columns = NameLevels(vocabulary, kind)

    found, bits = columns.of(vocabulary.codes(one), vocabulary.codes(other))
    most = columns.most_bits(vocabulary.codes(one), vocabulary.codes(other))

    expected = [JUDGES[kind](left, right) for left, right in zip(one, other, strict=True)]
    assert [NAME[level] for level in found.tolist()] == expected
    assert set(expected) >= {"exact", "variant", "typo", "similar", "disagree"}
    weights = [
        compare.name_bits(vocabulary.frequencies, kind, level, left, right)
        for level, left, right in zip(expected, one, other, strict=True)
    ]
    np.testing.assert_allclose(bits, weights, atol=1e-9)
    # What is passed over because of its letters could not have weighed more.
    assert (most >= bits - 1e-9).all()


def test_most_strangers_are_ruled_out_by_their_letters() -> None:
    random_ = random.Random(21)
    table = list(names().share["family"])
    vocabulary = Vocabulary()
    one, other = (vocabulary.codes(random_.choices(table, k=COUNT)) for _ in range(2))
    columns = NameLevels(vocabulary, "family")

    ruled_out = columns.most_bits(one, other) < 0

    assert ruled_out.mean() > 0.5


def test_soundex_in_columns() -> None:
    one, other = pairs_of_names("family")
    texts = [*one, *other, "", "ashcraft", "tymczak", "pfister", "honeyman", "1"]
    vocabulary = Vocabulary()

    found = vocabulary.soundex(vocabulary.codes(texts))

    sounds = [soundex(text) for text in texts]
    assert found.tolist() == [(ord(s[0]) - 64) * 1000 + int(s[1:]) if s else 0 for s in sounds]


def test_postcodes_in_columns() -> None:
    texts = ["", "LS63QD", "LS63QE", "LS6QD", "LS63DQ", "SL63QD", "M11AE", "M11A", "2119", "LÉ63QD", "LE63QD"]
    vocabulary = Vocabulary()
    one = [left for left in texts for _ in texts]
    other = texts * len(texts)

    found = levels.postcode(vocabulary, vocabulary.codes(one), vocabulary.codes(other))

    expected = [compare.postcode_level(left, right) for left, right in zip(one, other, strict=True)]
    assert [levels.HOME[level] for level in found.tolist()] == expected
