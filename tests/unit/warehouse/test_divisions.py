"""What is hidden of a measure by a characteristic: a group of nobody does not take everybody's figures with it."""

from __future__ import annotations

from commonroom.warehouse import divisions, measures, publication
from commonroom.warehouse.model import Level
from commonroom.warehouse.publication import Name, Parts

TERM = "term 2026-09-01"
SCHOOLS = ("990001", "990002", "990003", "990004", "990005")
HIDDEN = SCHOOLS[:2]  # whose absence is not shown undivided
GROUPS = ("F", "M", "unknown")
# Sessions missed by group, with permission and without; nobody is `unknown`, and of that everybody knows.
MISSED = {"F": (60, 24), "M": (50, 30), "unknown": (0, 0)}
POSSIBLE = {"F": 900, "M": 1000, "unknown": 0}


def test_a_group_of_nobody_in_a_place_that_is_hidden_leaves_the_rest_to_be_shown() -> None:
    family = measures.family(measures.named("absence_overall"))
    groups: dict[str, dict[Level, str | None]] = {
        urn: {"school": urn, "authority": "991", "region": "E12000001", "national": "E92000001"}
        for urn in SCHOOLS
    }
    numbers: dict[Name, Parts] = {}
    for number, urn in enumerate(SCHOOLS, 1):
        for group in GROUPS:
            authorised, unauthorised = (number * missed for missed in MISSED[group])
            for measure, missed in zip(
                family, (authorised + unauthorised, authorised, unauthorised), strict=True
            ):
                units = 40 if POSSIBLE[group] else 0
                name = (divisions.series(measure.name, group), ("school", urn), TERM)
                numbers[name] = Parts(missed, number * POSSIBLE[group], units)
    numbers = publication.rolled_up(numbers, groups)
    wholes: dict[Name, Parts] = {}
    for (figure, place, time), parts in numbers.items():
        name = (figure.partition("=")[0], place, time)
        one = wholes.get(name, Parts(0, 0, 0))
        wholes[name] = Parts(
            one.numerator + parts.numerator,
            (one.denominator or 0) + (parts.denominator or 0),
            one.units + parts.units,
        )
    dark = frozenset((one.name, ("school", urn), TERM) for one in family for urn in HIDDEN)
    whole = divisions.Whole(wholes, dark, frozenset())

    hidden = divisions.hidden(family, GROUPS, numbers, whole, publication.tree(groups))

    of_hidden = {
        (divisions.series(one.name, sex), ("school", urn), TERM)
        for one in family
        for urn in HIDDEN
        for sex in "FM"
    }
    assert of_hidden <= hidden, "where the whole is hidden every group is that has anybody in it"
    assert not [name for name in hidden if name[1][0] != "school"], "hidden beyond the schools"
