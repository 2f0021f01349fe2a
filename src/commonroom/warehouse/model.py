"""What a measure is: the shapes of the files in measures/. `measures` reads and proves them, `compilation` runs them."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["school", "trust", "authority", "region", "national"]
Grain = Literal["day", "week", "term", "year"]
# A flow (facts dated in the period) or a state (facts valid on one day). At the end of a period there is nothing before it
# is over, and none on 31 March before that day.
Taken = Literal["over the period", "on the last school day", "on 31 March", "at the end of the period"]


class Suppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which figures are hidden: groups of few units, and small numerators. 0 is never hidden."""

    units_below: int = 0
    numerator_below: int = 0
    unreliable_below: int = 0  # of fewer units the value is not shown (u), its parts are


class Within(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the facts only those of the days before something of the same unit began, or after it ended."""

    entity: str
    side: Literal["before", "after"]
    days: int


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many places for the best of the facts of which `of` holds."""

    of: str
    places: int


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The best of the facts beside a unit fill places, slot by slot: what one slot leaves may stand in a later one.

    `each_beside` then knows of each fact its `slot` (the name, none where it found no place) and its `worth`.
    """

    counts: str  # which facts count at all
    worth: str  # what a fact is worth in a place, a whole number
    slots: dict[str, Slot]
    # Entities whose state is laid to each fact by their key, which are items of the fact; a fact without counts nowhere.
    looks_up: tuple[str, ...] = ()
    # Of a unit's facts for which this is the same the earliest counts, of one day the best.
    once: str | None = None
    twice: str | None = None  # which facts fill two places


class Elsewhere(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the same learner in all facts of an entity, whichever school or body sent them."""

    each: dict[str, str]  # what is taken of it, whole numbers; 0 where nothing is known
    days_after: int = (
        0  # its state so many days after that of the measure: before that day there is no figure
    )
    entity: str = ""  # where two are of the same entity, on two days, their names differ
    # Which facts, by items of their key: of the rest, often most of what was ever sent, nothing is worked out.
    only: str | None = None
    # Also what has ended by that day: of a stay that is over its dates are still to be told.
    has_ended: bool = False


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the Department says of all for whom `where` holds: of pupils with such a result, say."""

    entity: str
    where: str  # over what is known of the unit and the items of the entity, whose state is of the same day
    each: dict[str, str]  # what is taken of it, whole numbers; 0 where nothing is known


class Tells(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Subtracted from its base, it tells how many these groups of the base by a characteristic are together."""

    by: str
    groups: tuple[str, ...]


class BoundedBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts the units whose own numerator in `measure` is a `part`-th of their own denominator there, or more."""

    measure: str
    part: int


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One measure, as declared."""

    name: str
    title: str
    meaning: str  # for everybody
    source: str  # whose definition it is
    entity: str
    taken: Taken
    unit: tuple[str, ...]  # stage 1: one row per these items and period
    each: dict[str, str]  # what is known of a unit, whole numbers
    numerator: str  # stage 2: over the units of a group
    shown_as: Literal["count", "percent", "ratio"]
    levels: tuple[Level, ...]
    grains: tuple[Grain, ...]
    suppression: Suppression
    # Of a state also the facts that have ended by its day: who left in May was at the end of the year all the same.
    has_ended: bool = False
    population: str | None = None  # which units take part
    denominator: str | None = None
    decimals: int = 0
    # The numerator is counted in parts of one: in halves (2), hundredths (100). A ratio is of so many (`times`).
    scale: int = 1
    times: int = 1
    within: Within | None = None
    place: str = "school"  # the item that names the school, or the authority of facts that are of no school
    # By a characteristic, a group without a unit is not known rather than 0: year groups without an admission number.
    nobody_is_unknown: bool = False
    # Another entity whose state on the same day is laid beside each unit, by the unit's items, and what is taken of it.
    beside: str | None = None
    each_beside: dict[str, str] = {}
    best: Best | None = None  # of the facts beside
    # By entity, or by another name. Joined by our own key of the learner, so to a state of what has a UPN.
    elsewhere: dict[str, Elsewhere] = {}
    reference: Reference | None = None  # laid to each unit last, by all that is known of it
    # How low the numerator of one unit can be, where it can be below 0. What is hidden is decided above it (`disclosure`).
    lowest: int | None = None
    # Over the units of a group, the sum of a standard deviation that is known of each, in parts as the numerator: how far
    # the mean of so many lies from 0 by chance (`disclosure.margin`).
    deviation: str | None = None
    # What else its figures are bound to by sums, so that they are hidden together (see `publication`).
    sum_of: tuple[str, ...] = ()  # the measures that add up to it, over the same denominator
    base: str | None = None  # the measure whose figure is its denominator
    # The measure that is over the same units or over more of them: where that is hidden, this is, with its denominator.
    cohort: str | None = None
    adds_up_over_time: bool = False  # a week's figure is the sum of its days'
    # The measure whose shown figures say between what bounds this one lies (see `bounds`).
    bounded_by: BoundedBy | None = None
    # The groups of its base that whoever subtracts it finds: hidden where one of these is.
    tells: Tells | None = None
    # Never declared: the characteristic by which a measure is divided (see `divided`).
    by: str | None = None
    # Never declared: the measure that it is a part of (see `Part`).
    part_of: str = ""
    # Of an organisation's own measure alone: the published one that is shown beside it.
    benchmark: str | None = None

    @property
    def days_after(self) -> int:
        """How many days after its state it is known: when what it takes from elsewhere is."""
        return max((one.days_after for one in self.elsewhere.values()), default=0)

    @property
    def is_its_denominator(self) -> bool:
        """Whether its figure is the number that those it is the sum of are out of: shown where that is, hidden where not."""
        return self.denominator is not None and self.numerator == self.denominator


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measure that counts something else of the same units as another, which has it in its `sum_of`; all else is alike."""

    name: str
    of: str
    title: str
    meaning: str
    numerator: str
    shown_as: Literal["count", "percent", "ratio"]
    suppression: Suppression
    decimals: int = 0
    sum_of: tuple[str, ...] = ()
