"""Bands, the limits of a list for a clerk, the waterfall and the words."""

from __future__ import annotations

import msgspec
import pytest

from commonroom.registers.learners.matching import (
    Details,
    Frequencies,
    Known,
    decide,
    decide_many,
    explain,
    guard_in_words,
    weigh,
)
from commonroom.registers.learners.matching.guards import WORDS
from commonroom.registers.learners.matching.parameters import parameters

AMELIA = Details(
    given_name="Amelia", family_name="Hughes", date_of_birth="2008-05-14", gender="2", postcode="LS6 3QD"
)


def known(person: object = "p", **changes: str | None) -> Known:
    return Known(person=person, details=msgspec.structs.replace(AMELIA, **changes))


def test_more_than_ten_are_too_many() -> None:
    moved = [known(person=number, postcode=f"M{number} 1AE") for number in range(1, 12)]

    decision = decide(AMELIA, moved)

    assert decision.outcome == "too_many"
    assert len(decision.candidates) == 10
    assert decide(AMELIA, moved[:10]).outcome == "review"
    assert decide_many([AMELIA], moved, ([0] * 11, [*range(11)]))[0].outcome == "too_many"


def test_optional_fields_raise_the_threshold() -> None:
    # A register of such a size that the pair stands between the two thresholds.
    query = msgspec.structs.replace(AMELIA, postcode=None)
    bands = parameters().bands
    sizes = [2**power for power in range(8, 30)]
    between = next(
        size
        for size in sizes
        if bands.existing
        <= weigh(query, known(), registered=size).weight
        < bands.existing_with_optional_fields - 0.9
    )
    assert decide(query, [known()], registered=between).outcome == "existing"
    school = {"place_of_birth": "Leeds"}
    with_place = msgspec.structs.replace(query, place_of_birth="York")
    assert decide(with_place, [known(**school)], registered=between).outcome == "review"


def test_the_more_are_registered_the_more_it_takes() -> None:
    small, large = (weigh(AMELIA, known(), registered=size).weight for size in (1_000, 1_000_000))

    assert small - large == pytest.approx(9.966, abs=0.01)


def test_the_home_counts_once() -> None:
    home = {"house": "1 Mill Road", "email": "home@example.org"}
    alone = weigh(AMELIA, known())
    together = weigh(msgspec.structs.replace(AMELIA, **home), known(**home))

    assert together.weight == alone.weight


def test_a_twin_stays_a_twin_whatever_the_home_says() -> None:
    home = {"house": "1 Mill Road", "email": "home@example.org"}
    query = msgspec.structs.replace(AMELIA, given_name="Olivia", **home)

    assert decide(query, [known(**home)]).guard == "twin"


def test_common_names_tell_less_when_the_register_says_they_are_common() -> None:
    counts = Frequencies({"amelia": 30_000}, {"hughes": 40_000}, {("amelia", "hughes"): 20_000}, 1_000_000)

    assert weigh(AMELIA, known(), frequencies=counts).weight < weigh(AMELIA, known()).weight - 5
    fields = {part.field: part.weight for part in weigh(AMELIA, known(), frequencies=counts).parts}
    assert fields["names"] < -3


def test_the_weight_is_the_sum_of_its_parts() -> None:
    one = weigh(AMELIA, known(given_name="Emelia", postcode="M1 1AE"))

    assert one.weight == pytest.approx(sum(part.weight for part in one.parts), abs=1e-6)


def test_the_waterfall_is_in_words_without_the_persons_details() -> None:
    twin = weigh(msgspec.structs.replace(AMELIA, given_name="Olivia"), known())

    lines = explain(twin)

    assert "Given name: different (-6.5)" in lines
    assert lines[-1] == WORDS["twin"] == guard_in_words("twin")
    assert not any(word in " ".join(lines) for word in ("Amelia", "Olivia", "Hughes", "LS6", "2008"))
    assert guard_in_words(None).endswith("enough.")


def test_a_register_counts_its_names() -> None:
    rows = [
        ("amelia", "hughes", 20_000),
        ("amelia", "smith", 10_000),
        ("oscar", "hughes", 20_000),
        ("zoe", "ash", 950_000),
    ]

    counted = Frequencies.counted(rows)

    expected = Frequencies(
        {"amelia": 30_000, "oscar": 20_000, "zoe": 950_000},
        {"hughes": 40_000, "smith": 10_000, "ash": 950_000},
        {(given, family): count for given, family, count in rows},
        1_000_000,
    )
    assert counted.lifts == expected.lifts
    assert counted.rarity("given", "amelia") == expected.rarity("given", "amelia")
