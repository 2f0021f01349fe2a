"""An invented population of learners with its truth: families with brothers, sisters and twins, in homes they share.

What is registered and what comes in are two records of a person; the second is what somebody typed later. The table
that alters names is the public lists' own and rules of typing, not what the matcher knows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners_bench import people, typing_slips

Ints = NDArray[np.int64]
Words = NDArray[np.object_]

FIRST_YEAR, YEARS = 1990, 20
TWIN_BIRTHS = 0.016
MIXED_TWINS = 0.34
ALLITERATING_TWINS = 0.15
# Of twin boys in families whose sons bear Mohammed.
BOTH_MOHAMMED = 0.1
DOUBLE_BARRELLED = 0.03
HOMES_TO_A_POSTCODE = 5
POSTCODES_TO_A_DISTRICT = 300
UNIT = "ABDEFGHJLNPQRSTUWXYZ"


class Population(msgspec.Struct, frozen=True):
    """Persons, a row each."""

    household: Ints
    birth: Ints
    twin: Ints
    group: Words
    gender: Words
    given: Words
    middle: Words
    family: Words
    born: Words
    postcode: Words
    house: Words
    email: Words
    upn: Words
    place: Words
    school: Words
    postcodes: Words

    @property
    def size(self) -> int:
        """How many persons."""
        return len(self.household)


def make(count: int, seed: int, folder: Path) -> Population:
    """At least `count` persons."""
    random = np.random.default_rng(seed)
    lists = people.read(folder)
    births = _births(count, random)
    household, birth, twin = births
    homes = int(household.max()) + 1
    groups = np.array(list(people.SHARES), object)
    home_group = groups[random.choice(len(groups), homes, p=list(people.SHARES.values()))]
    group = home_group[household]
    gender = _genders(birth, random)
    family = _families(home_group, lists, random)[household]
    family = _by_sex(family, group, gender)
    given = _given_names(group, gender, birth, household, lists, random)
    middle = _middle_names(group, gender, given, lists, random)
    postcodes = _postcodes(homes, folder, random)
    home_postcode = postcodes[random.integers(0, len(postcodes), homes)]
    numbers = random.integers(1, 140, homes)
    streets = np.array([f"{name} {kind}" for name in _STREETS for kind in _KINDS], object)
    street_of = dict(zip(postcodes, streets[random.integers(0, len(streets), len(postcodes))], strict=True))
    home_house = np.array(
        [f"{number} {street_of[code]}" for number, code in zip(numbers.tolist(), home_postcode, strict=True)],
        object,
    )
    mailed = random.random(homes) < 0.6
    home_email = np.array(
        [f"home{home}@example.org" if has else None for home, has in enumerate(mailed)], object
    )
    size = len(household)
    own = random.random(size) < 0.3
    email = np.where(
        own,
        np.array([f"learner{number}@example.org" for number in range(size)], object),
        home_email[household],
    )
    towns, schools = _TOWNS, np.array([f"{town} {kind}" for town in _TOWNS for kind in _SCHOOLS], object)
    home_school = schools[random.integers(0, len(schools), homes)]
    return Population(
        household=household,
        birth=birth,
        twin=twin,
        group=group,
        gender=gender,
        given=given,
        middle=middle,
        family=family,
        born=_dates(household, birth, group, random),
        postcode=home_postcode[household],
        house=home_house[household],
        email=email,
        upn=_upns(size),
        place=np.array(towns, object)[random.integers(0, len(towns), homes)][household],
        school=home_school[household],
        postcodes=postcodes,
    )


_STREETS = (
    "Mill", "Church", "Station", "High", "Victoria", "Park", "Elm", "Oak", "Queens", "Kings", "School", "North",
    "South", "West",
    "Albert", "Castle", "Garden", "Meadow", "River", "Chapel", "Grange", "Manor", "Hill", "Spring", "Beech", "Cedar", "Ash",
)  # fmt: skip
_KINDS = ("Road", "Street", "Lane", "Avenue", "Close", "Drive", "Gardens")
_TOWNS = (
    "Leeds", "Bradford", "Bolton", "Oldham", "Bury", "Derby", "Luton", "Slough", "Reading", "Bristol", "Exeter", "Truro",
    "Hull", "York", "Durham", "Carlisle", "Preston", "Stoke", "Walsall", "Dudley", "Coventry", "Leicester", "Nottingham",
    "Lincoln", "Norwich", "Ipswich", "Croydon", "Ealing", "Barnet", "Brent",
)  # fmt: skip
_SCHOOLS = ("Academy", "High School", "Community School", "Grammar School", "St Mary's", "College")


def _births(count: int, random: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Of each person the household, the birth within it, and the row of the twin or -1."""
    homes = int(count / 1.72) + 200
    sizes = random.choice([1, 2, 3, 4], homes, p=[0.48, 0.36, 0.12, 0.04])
    household_of_birth = np.repeat(np.arange(homes), sizes)
    number = np.arange(len(household_of_birth))
    twins = random.random(len(number)) < TWIN_BIRTHS
    birth = np.repeat(number, np.where(twins, 2, 1))
    twin = np.full(len(birth), -1)
    first = np.flatnonzero(birth[:-1] == birth[1:])
    twin[first], twin[first + 1] = first + 1, first
    return household_of_birth[birth], birth, twin


def _genders(birth: Ints, random: np.random.Generator) -> Words:
    gender = random.integers(1, 3, len(birth))
    second = np.flatnonzero(birth[1:] == birth[:-1]) + 1
    mixed = random.random(len(second)) < MIXED_TWINS
    gender[second] = np.where(mixed, 3 - gender[second - 1], gender[second - 1])
    return np.array(["", "1", "2"], object)[gender]


def _families(home_group: Words, lists: people.Lists, random: np.random.Generator) -> Words:
    family = np.empty(len(home_group), object)
    for group, names in lists.family.items():
        held = np.flatnonzero(home_group == group)
        family[held] = names.draw(random, len(held))
    double = np.flatnonzero((home_group == "general") & (random.random(len(home_group)) < DOUBLE_BARRELLED))
    others = lists.family["general"].draw(random, len(double))
    family[double] = [f"{one}-{other}" for one, other in zip(family[double], others, strict=True)]
    return family


def _by_sex(family: Words, group: Words, gender: Words) -> Words:
    """Names that have a form for women; Kaur and Singh."""
    changed = family.copy()
    for place in np.flatnonzero((gender == "2") & np.isin(group, ["east_european", "indian"])).tolist():
        name = family[place]
        if name.endswith(("ski", "cki", "dzki")):
            changed[place] = f"{name[:-1]}a"
        elif name.endswith(("ov", "ev")):
            changed[place] = f"{name}a"
        elif name == "Singh":
            changed[place] = "Kaur"
    return changed


def _given_names(
    group: Words,
    gender: Words,
    birth: Ints,
    household: Ints,
    lists: people.Lists,
    random: np.random.Generator,
) -> Words:
    given = np.empty(len(group), object)
    for (name_group, sex), names in lists.given.items():
        held = np.flatnonzero((group == name_group) & (gender == sex))
        given[held] = names.draw(random, len(held))
    # Nobody gives two children one name, except a name that brothers share.
    for _ in range(4):
        order = np.lexsort((given.astype(str), household))
        same = (household[order][1:] == household[order][:-1]) & (given[order][1:] == given[order][:-1])
        again = order[1:][same]
        again = again[~np.isin(given[again], people.BROTHERS)]
        if not len(again):
            break
        for name_group, sex in sorted({(group[row], gender[row]) for row in again.tolist()}):
            held = again[(group[again] == name_group) & (gender[again] == sex)]
            given[held] = lists.given[name_group, sex].draw(random, len(held))
    second = np.flatnonzero(birth[1:] == birth[:-1]) + 1
    _alliterate(given, gender, group, second, lists, random)
    boys = second[(group[second] == "muslim") & (gender[second] == "1") & (gender[second - 1] == "1")]
    both = boys[random.random(len(boys)) < BOTH_MOHAMMED]
    given[both - 1] = np.array(people.BROTHERS, object)[random.integers(0, len(people.BROTHERS), len(both))]
    given[both] = given[both - 1]
    return given


def _alliterate(
    given: Words, gender: Words, group: Words, second: Ints, lists: people.Lists, random: np.random.Generator
) -> None:
    for row in second[random.random(len(second)) < ALLITERATING_TWINS].tolist():
        names = lists.given[group[row], gender[row]]
        first = given[row - 1]
        for name in names.draw(random, 60):
            # Alike, but nobody calls twins Sophie and Sophia.
            if name[0] == first[0] and name[:3] != first[:3]:
                given[row] = name
                break


def _middle_names(
    group: Words, gender: Words, given: Words, lists: people.Lists, random: np.random.Generator
) -> Words:
    """Three in four have a middle name; those whose first is a name brothers share always do."""
    middle = np.empty(len(group), object)
    for (name_group, sex), names in lists.given.items():
        held = np.flatnonzero((group == name_group) & (gender == sex))
        middle[held] = names.draw(random, len(held))
    without = (random.random(len(group)) < 0.25) & ~np.isin(given, people.BROTHERS)
    middle[without] = None
    return middle


def _dates(household: Ints, birth: Ints, group: Words, random: np.random.Generator) -> Words:
    """Children of one home are born ten months or more apart, twins together."""
    births = int(birth.max()) + 1
    home = np.zeros(births, np.int64)
    home[birth] = household
    starts = np.concatenate([[True], home[1:] != home[:-1]])
    gap = np.where(starts, 0, random.integers(300, 1900, births))
    total = np.cumsum(gap)
    since = total - np.repeat(total[starts], np.diff(np.append(np.flatnonzero(starts), births)))
    day = (random.integers(0, YEARS * 365, int(home.max()) + 1)[home] + since) % int(YEARS * 365.25)
    date = np.datetime64(f"{FIRST_YEAR}-01-01") + day
    birth_group = np.empty(births, object)
    birth_group[birth] = group
    heaped = random.random(births) < np.array([people.FIRST_OF_JANUARY[name] for name in birth_group])
    date[heaped] = date[heaped].astype("datetime64[Y]").astype("datetime64[D]")
    different, places = np.unique(date, return_inverse=True)
    return np.array([str(one) for one in different], object)[places][birth]


def _postcodes(homes: int, folder: Path, random: np.random.Generator) -> Words:
    """As many postcodes as the homes need, in real districts."""
    wanted = max(50, homes // HOMES_TO_A_POSTCODE)
    text = (folder / "sdg_address_uk.csv").read_text("utf-8").splitlines()[1:]
    districts = sorted({line.split(" ")[0] for line in text if " " in line.split(",")[0]})
    count = max(1, min(len(districts), wanted // POSTCODES_TO_A_DISTRICT + 1))
    chosen = random.choice(np.array(districts, object), count, replace=False)
    area = chosen[random.integers(0, count, wanted)]
    sector = random.integers(1, 10, wanted)
    letters = random.integers(0, len(UNIT), (wanted, 2))
    found = [
        f"{place} {number}{UNIT[one]}{UNIT[two]}"
        for place, number, (one, two) in zip(area, sector.tolist(), letters.tolist(), strict=True)
    ]
    return np.array(sorted(set(found)), object)


def _upns(size: int) -> Words:
    """Permanent UPNs without repeats. The check letter is right: FACTS of the standard give the rule."""
    weights = np.arange(2, 14)
    number = np.arange(size, dtype=np.int64) + 200_000_000_000
    digits = number[:, None] // 10 ** np.arange(11, -1, -1) % 10
    letters = np.array(list("ABCDEFGHJKLMNPQRTUVWXYZ"))[(digits * weights).sum(axis=1) % 23]
    return np.array(
        [f"{letter}{value}" for letter, value in zip(letters.tolist(), number.tolist(), strict=True)], object
    )


class Sample(msgspec.Struct, frozen=True):
    """What is registered and what comes in, as columns of text, and who the incoming are."""

    registered: dict[str, Words]
    incoming: dict[str, Words]
    # By incoming row the registered row of the same person, -1 for nobody.
    truth: Ints
    with_twin: int
    group: Words


CO_TWINS = 0.046
FIVE_FIELDS = ("given_name", "family_name", "date_of_birth", "gender", "postcode", "previous_family_name")


def sample(
    population: Population, registered: int, incoming: int, seed: int, folder: Path, *, optional: bool
) -> Sample:
    """Half of the incoming are registered; 4.6% have a twin who is."""
    random = np.random.default_rng((seed, 7))
    order = random.permutation(population.size)
    outside, inside = order[registered:], order[:registered]
    is_inside = np.zeros(population.size, np.bool_)
    is_inside[inside] = True
    known = _with_twins(population, inside, is_inside, incoming // 2, random)
    new = _with_twins(population, outside, is_inside, incoming - incoming // 2, random)
    chosen = np.concatenate([known, new])
    random.shuffle(chosen)
    place = np.full(population.size, -1)
    place[inside] = np.arange(registered)
    lists = people.read(folder)
    typist = typing_slips.Typist(population, lists, random, optional=optional)
    twins = population.twin[chosen]
    return Sample(
        registered=typist.registration(inside),
        incoming=typist.later(chosen),
        truth=place[chosen],
        with_twin=int(((twins >= 0) & is_inside[twins]).sum()),
        group=population.group[chosen],
    )


def _with_twins(
    population: Population, pool: Ints, is_inside: NDArray[np.bool_], count: int, random: np.random.Generator
) -> Ints:
    """`count` of the pool, as many with a registered twin as are wanted."""
    twin = population.twin[pool]
    has = (twin >= 0) & is_inside[twin]
    some = pool[has][: int(count * CO_TWINS)]
    rest = pool[~has][: count - len(some)]
    return random.permutation(np.concatenate([some, rest]))


def columns(words: dict[str, Words]) -> dict[str, tuple[list[Any], Ints]]:
    """Columns of text as a table of the matcher takes them: different values, and each row's place among them."""
    found: dict[str, tuple[list[Any], Ints]] = {}
    for name, values in words.items():
        places: dict[Any, int] = {}
        column = np.fromiter(
            (places.setdefault(value, len(places)) for value in values), np.int64, len(values)
        )
        found[name] = (list(places), column)
    return found
