"""What a measure is: the shapes of the files in measures/. `measures` reads and proves them, `compilation` runs them."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["school", "trust", "authority", "region", "national"]
Grain = Literal["day", "week", "term", "year"]


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
    # A flow (facts dated in the period) or a state (facts valid on one day).
    taken: Literal["over the period", "on the last school day"]
    unit: tuple[str, ...]  # stage 1: one row per these items and period
    each: dict[str, str]  # what is known of a unit, whole numbers
    numerator: str  # stage 2: over the units of a group
    shown_as: Literal["count", "percent", "ratio"]
    levels: tuple[Level, ...]
    grains: tuple[Grain, ...]
    suppression: Suppression
    population: str | None = None  # which units take part
    denominator: str | None = None
    decimals: int = 0
    # The numerator is counted in parts of one: in halves (2), hundredths (100). A ratio is of so many (`times`).
    scale: int = 1
    times: int = 1
    within: Within | None = None
    place: str = "school"  # the item that names the school, where it is called otherwise
    # Another entity whose state on the same day is laid beside each unit, by the unit's items, and what is taken of it.
    beside: str | None = None
    each_beside: dict[str, str] = {}
    # What else its figures are bound to by sums, so that they are hidden together (see `publication`).
    sum_of: tuple[str, ...] = ()  # the measures that add up to it, over the same denominator
    base: str | None = None  # the measure whose figure is its denominator
    adds_up_over_time: bool = False  # a week's figure is the sum of its days'
    # The measure whose shown figures say between what bounds this one lies (see `bounds`).
    bounded_by: BoundedBy | None = None
    # Never declared: the characteristic by which a measure is divided (see `divided`).
    by: str | None = None
    # Of an organisation's own measure alone: the published one that is shown beside it.
    benchmark: str | None = None
