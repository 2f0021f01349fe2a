"""How names sound: Soundex for blocks, and a closer spelling of the sound for variants."""

from __future__ import annotations

import re
from functools import lru_cache

_DIGITS = {
    **dict.fromkeys("bfpv", "1"),
    **dict.fromkeys("cgjkqsxz", "2"),
    **dict.fromkeys("dt", "3"),
    "l": "4",
    **dict.fromkeys("mn", "5"),
    "r": "6",
}
# Applied in this order. Each joins spellings that name-givers choose between, and parts no two names in common use.
_SOUNDS = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        (r"ph", "f"),
        (r"^wr", "r"),
        (r"^kn", "n"),
        (r"ck|qu|q", "k"),
        (r"x", "ks"),
        (r"c(?=[eiy])", "s"),
        (r"^g(?=[eiy])", "j"),
        (r"c(?!h)", "k"),
        (r"ch(?=r)", "k"),
        (r"th", "t"),
        (r"gh(?=[aeiouy])", "g"),
        (r"sch|sh", "s"),
        (r"z", "s"),
        (r"ou|oo|u", "u"),
        (r"ee|ea(?=[^aeiou])|ie|ey|i|y", "i"),
        (r"ae|ai|ei", "e"),
        (r"(?<=[^h])h(?![aeiou])", ""),
        (r"(.)\1+", r"\1"),
        (r"(?<=[^aeiou][a-z])e$|(?<=[^aeiou])e$", ""),
    )
)
# Endings of one family name that tell the sexes apart, longest first.
_GENDERED = (
    ("ska", "ski"),
    ("cka", "cki"),
    ("dzka", "dzki"),
    ("ova", "ov"),
    ("eva", "ev"),
    ("ina", "in"),
    ("aia", "y"),
)


@lru_cache(maxsize=400_000)
def soundex(name: str) -> str:
    """American Soundex of a folded name, "" of none."""
    letters = [letter for letter in name if "a" <= letter <= "z"]
    if not letters:
        return ""
    code = letters[0].upper()
    last = _DIGITS.get(letters[0], "")
    for letter in letters[1:]:
        digit = _DIGITS.get(letter, "")
        if digit and digit != last:
            code += digit
            if len(code) == 4:
                return code
        # The same sound on both sides of h or w is one sound.
        if letter not in "hw":
            last = digit
    return code.ljust(4, "0")


@lru_cache(maxsize=400_000)
def sound(name: str) -> str:
    """The name as it sounds: two spellings of one name come out alike."""
    for pattern, written in _SOUNDS:
        name = pattern.sub(written, name)
    return name


@lru_cache(maxsize=400_000)
def family_form(name: str) -> str:
    """A family name in the form that men and women share: Kowalska and Kowalski, Novakova and Novak."""
    for woman, man in _GENDERED:
        if name.endswith(woman) and len(name) > len(woman) + 2:
            return name[: -len(woman)] + man
    return name


def same_family_form(one: str, other: str) -> bool:
    """Whether two family names are the forms of one name."""
    mine, yours = family_form(one), family_form(other)
    if mine == yours:
        return True
    # Czech and Slovak: Novakova and Novak.
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return len(shorter) > 3 and longer in (shorter + "ova", shorter + "eva")
