"""The waterfall in words: why a candidate weighs what it weighs, and what holds it back."""

from __future__ import annotations

from commonroom.registers.learners.matching.guards import WORDS
from commonroom.registers.learners.matching.people import Weighed

FIELDS = {
    "register": "Size of the register",
    "given": "Given name",
    "family": "Family name",
    "names": "Both names",
    "birth": "Date of birth",
    "gender": "Sex",
    "home": "Home",
    "upn": "UPN",
    "middle": "Middle names",
    "place": "Place of birth",
    "school": "School at 16",
}
LEVELS = {
    "size": "the more people are registered, the more it takes",
    "exact": "the same",
    "agree": "the same",
    "same": "the same",
    "variant": "another form of the name",
    "typo": "a slip of the pen",
    "other": "goes by another of the names",
    "middle": "is a middle name of the other",
    "initial": "the same initial",
    "similar": "alike",
    "part": "one part is the same",
    "swapped": "in each other's place",
    "disagree": "different",
    "differ": "different",
    "conflict": "different",
    "together": "often borne together, so they tell less",
    "month": "the same as far as known, the day is not",
    "year": "the same year, no more is known",
    "slip": "one figure or letter apart",
    "near": "within the same months",
    "district": "the same part of the town",
    "house": "the same house",
    "email": "the same e-mail",
    "town": "the same town",
}


def explain(one: Weighed) -> list[str]:
    """A line for each step of the waterfall, then the sum, then the guard. It names no value of the person."""
    lines = [
        f"{FIELDS[part.field]}: {LEVELS[part.level]} ({part.weight:+.1f})"
        for part in one.parts
        if part.level != "missing"
    ]
    lines.append(f"Together {one.weight:+.1f} bits")
    return [*lines, WORDS[one.guard]] if one.guard else lines


def guard_in_words(guard: str | None) -> str:
    """Why a clerk is asked."""
    return WORDS[guard] if guard else "It is likely, but not certain enough."
