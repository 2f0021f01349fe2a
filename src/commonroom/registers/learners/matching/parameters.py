"""The versioned parameters and the tables of names, read once."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from math import log2
from pathlib import Path

import msgspec

from commonroom import declarations

HERE = Path(__file__).parent


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often records of one person, and of strangers, compare so; without `u` the frequency of the name counts."""

    m: float
    u: float | None = None
    spread: float = 0.0

    @property
    def bits(self) -> float:
        """The weight, less what the frequency of the name adds."""
        return _bits(self.m, self.u, self.spread)


@cache
def _bits(m: float, u: float | None, spread: float) -> float:
    return log2(m) - (log2(u) if u else spread)


class Bands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where decisions part, in bits."""

    existing: float
    existing_with_optional_fields: float
    review: float
    margin: float
    most_candidates: int


class GivenLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rarest: float
    exact: Level
    variant: Level
    typo: Level
    other: Level
    middle: Level
    initial: Level
    similar: Level
    disagree: Level


class FamilyLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rarest: float
    exact: Level
    variant: Level
    typo: Level
    part: Level
    similar: Level
    disagree: Level


class BirthLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exact: Level
    month: Level
    year: Level
    swapped: Level
    slip: Level
    near: Level
    disagree: Level
    first_of_january: float


class HomeLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    postcode: Level
    slip: Level
    district: Level
    disagree: Level
    house: Level
    email: Level
    town: Level


class GuardRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    in_use: float
    days_of_twins: int
    shared_by_brothers: frozenset[str]


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of parameters.yaml."""

    version: str
    registered: int
    table_counts_as: int
    together_at_least: int
    together_share: float
    together_doubt: float
    bands: Bands
    given: GivenLevels
    family: FamilyLevels
    swapped: float
    former: float
    previous: float
    birth: BirthLevels
    gender: dict[str, Level]
    home: HomeLevels
    upn: dict[str, Level]
    middle: dict[str, Level]
    place: dict[str, Level]
    school: dict[str, Level]
    guards: GuardRules


class Variants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    groups: tuple[tuple[str, ...], ...]
    family_groups: tuple[tuple[str, ...], ...]


class Names:
    """How often each name is borne, and which names are forms of one."""

    def __init__(self) -> None:
        self.share: dict[str, dict[str, float]] = {"given": {}, "family": {}}
        with (HERE / "names.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(line for line in file if not line.startswith("#")):
                self.share[row["kind"]][row["name"]] = float(row["per_million"]) / 1e6
        variants = declarations.load(HERE / "variants.yaml", Variants)
        self.groups = {"given": _members(variants.groups), "family": _members(variants.family_groups)}

    def related(self, kind: str, one: str, other: str) -> bool:
        """Whether the table holds the two as forms of one name."""
        groups = self.groups[kind]
        mine = groups.get(one)
        return mine is not None and not mine.isdisjoint(groups.get(other, ()))

    def in_use(self, kind: str, name: str, least: float) -> bool:
        """Whether a name is borne by enough people not to be a slip of the pen."""
        return self.share[kind].get(name, 0.0) >= least


def _members(groups: tuple[tuple[str, ...], ...]) -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for number, group in enumerate(groups):
        for name in group:
            found.setdefault(name, set()).add(number)
    return {name: frozenset(numbers) for name, numbers in found.items()}


@cache
def parameters() -> Parameters:
    """The parameters that decide."""
    return declarations.load(HERE / "parameters.yaml", Parameters)


@cache
def names() -> Names:
    """The tables of names."""
    return Names()


class Frequencies:
    """How rare names are: the table of the country, corrected by the register's own counts where there are any.

    Names are not borne independently: in a community some given names go with some family names. Where the register
    shows that two are borne together more often than chance, agreement on both tells less.
    """

    def __init__(
        self,
        given: Mapping[str, int] | None = None,
        family: Mapping[str, int] | None = None,
        together: Mapping[tuple[str, str], int] | None = None,
        size: int = 0,
    ) -> None:
        self._counts = {"given": given or {}, "family": family or {}}
        self._size = size
        self._rarity: dict[tuple[str, str], float] = {}
        self.lifts = dict(self._lifts(together or {}))

    @classmethod
    def counted(cls, rows: Iterable[tuple[str, str, int]]) -> Frequencies:
        """Of (first given name, family name, how many bear both), folded as `normalise` does: what a register counts."""
        given: Counter[str] = Counter()
        family: Counter[str] = Counter()
        together: dict[tuple[str, str], int] = {}
        for first, last, count in rows:
            given[first] += count
            family[last] += count
            together[first, last] = together.get((first, last), 0) + count
        return cls(given, family, together, family.total())

    def rarity(self, kind: str, name: str) -> float:
        """The bits that agreement on a name is worth. A double name is as rare as its rarest part."""
        found = self._rarity.get((kind, name))
        if found is None:
            found = self._rarity[kind, name] = -log2(self._share(kind, name))
        return found

    def together(self, given: str, family: str) -> float:
        """The bits, at most 0, that agreement on both tells less than on each."""
        return self.lifts.get((given, family), 0.0)

    def _share(self, kind: str, name: str) -> float:
        scales = parameters().given if kind == "given" else parameters().family
        table = names().share[kind]
        whole = table.get(name.replace(" ", ""))
        if whole is None:
            whole = min((table.get(part, scales.rarest) for part in name.split()), default=scales.rarest)
        weight = parameters().table_counts_as
        counted = self._counts[kind].get(name, 0)
        return max((counted + weight * whole) / (self._size + weight), scales.rarest)

    def _lifts(self, together: Mapping[tuple[str, str], int]) -> Iterator[tuple[tuple[str, str], float]]:
        least = max(parameters().together_at_least, self._size * parameters().together_share)
        for (given, family), count in together.items():
            if count >= least and given and family:
                chance = self._share("given", given) * self._share("family", family) * self._size
                # A few bearers more than chance would have it are no sign of anything.
                doubt = parameters().together_doubt
                if count > chance:
                    yield (given, family), -log2((count + doubt) / (chance + doubt))


@cache
def table_frequencies() -> Frequencies:
    """The frequencies of the table alone."""
    return Frequencies()


def prior(registered: int | None) -> float:
    """The bits that speak against any one of the registered: how many there are."""
    return -log2(max(2, registered or parameters().registered))
