"""Bands, guards and margin: an existing number, a clerk, or a new number."""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set

import msgspec

from commonroom.registers.learners.matching.normalise import Prepared, normalise
from commonroom.registers.learners.matching.parameters import Frequencies, parameters
from commonroom.registers.learners.matching.people import Decision, Details, Known, Overrides, Weighed
from commonroom.registers.learners.matching.score import weigh

NO_OVERRIDES = Overrides()
_FIVE_FIELDS = frozenset(("register", "given", "family", "names", "birth", "gender"))
_HOME_FIELDS = frozenset(("house", "email", "town"))


def decide(
    query: Details | Prepared,
    candidates: Sequence[Known],
    *,
    overrides: Overrides = NO_OVERRIDES,
    taken: Set[Hashable] = frozenset(),
    registered: int | None = None,
    frequencies: Frequencies | None = None,
) -> Decision:
    """What is done with a query, given everybody in the register who shares a block key with it.

    `taken` are the persons whom the same file has already claimed: two learners in one provider's file never get one
    number, so such a candidate goes to a clerk.
    """
    prepared = normalise(query) if isinstance(query, Details) else query
    weighed = [weigh(prepared, known, registered=registered, frequencies=frequencies) for known in candidates]
    return choose(weighed, overrides=overrides, taken=taken)


def choose(
    weighed: Sequence[Weighed], *, overrides: Overrides = NO_OVERRIDES, taken: Set[Hashable] = frozenset()
) -> Decision:
    """The decision on candidates that have been weighed."""
    bands, model = parameters().bands, parameters().version
    likely = sorted((one for one in weighed if is_likely(one, overrides)), key=lambda one: -one.weight)
    if not likely:
        return Decision("new", None, (), None, model)
    decided = next((one for one in likely if one.person in overrides.same), None)
    if decided is not None and decided.person not in taken:
        return Decision("existing", decided.person, (decided,), None, model)
    best = likely[0]
    if best.person in taken:
        best = likely[0] = msgspec.structs.replace(best, guard="file")
    held = best.guard
    if held is None and len(likely) > 1 and best.weight - likely[1].weight < bands.margin:
        held = "margin"
    if held is None and best.weight >= threshold(best):
        return Decision("existing", best.person, (best,), None, model)
    if len(likely) > bands.most_candidates:
        return Decision("too_many", None, tuple(likely[: bands.most_candidates]), held, model)
    return Decision("review", None, tuple(likely), held, model)


def is_likely(one: Weighed, overrides: Overrides) -> bool:
    """Whether a clerk would want to see the candidate: strong enough, and not known to be somebody else."""
    if one.person in overrides.different:
        return False
    if one.person in overrides.same:
        return True
    if one.guard == "different":
        return False
    # A shared UPN is never passed over, even when everything else disagrees.
    return one.weight >= parameters().bands.review or any(
        part.field == "upn" and part.level == "same" for part in one.parts
    )


def threshold(one: Weighed) -> float:
    """The weight an existing number takes: more when optional fields add to it."""
    bands = parameters().bands
    optional = any(
        part.level in _HOME_FIELDS
        if part.field == "home"
        else part.field not in _FIVE_FIELDS and part.level != "missing"
        for part in one.parts
    )
    return bands.existing_with_optional_fields if optional else bands.existing
