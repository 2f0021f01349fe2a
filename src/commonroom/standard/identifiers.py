"""Identifiers of English education: what each looks like, its check character, and a verdict on any value.

Sources: CBDS items 100001 (UPN), 100016 (ULN), 200003 (URN), 400014 (TRN); HMRC's manual on National Insurance
numbers; the JCQ method for UCI as public programs describe it (no official worked example is known).

What a check character proves, and what it does not:

* UPN: every change of one digit, and every swap of two unequal digits, gives a wrong check letter. A last character
  changed between a digit and the letter of the same value (0 and A, 1 and B, ...) is not noticed.
* ULN: every change of one digit and every swap of two unequal digits is noticed, except a change that makes the
  reserved number 9999999999.
* UCI: as UPN for digits; the board letters that share a value (J, Q and X among others) stand in for each other
  unnoticed.
* UKPRN, URN, LAESTAB and TRN have no check character: only their form is judged. NINO has none either, but some
  prefixes are never given out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import msgspec

UPN_LETTERS = "ABCDEFGHJKLMNPQRTUVWXYZ"
UCI_LETTERS = "ABCDEFGHKLMRTVWXY"
ULN_PLACEHOLDER = "9999999999"

_UPN = re.compile(r"[A-HJ-NP-RT-Z][0-9]{11}[0-9A-HJ-NP-RT-Z]")
_UPN_BODY = re.compile(r"[0-9]{11}[0-9A-HJ-NP-RT-Z]")
_ULN = re.compile(r"[1-9][0-9]{9}")
_ULN_STEM = re.compile(r"[1-9][0-9]{8}")
_UKPRN = re.compile(r"1[0-9]{7}")
_URN = re.compile(r"[1-9][0-9]{5}")
_LAESTAB = re.compile(r"[0-9]{3}/?[0-9]{4}")
_TRN = re.compile(r"[0-9]{7}")
_UCI = re.compile(r"[0-9]{5}[0A-Z][0-9]{6}[A-Z]")
_UCI_BODY = re.compile(r"[0-9]{5}[0A-Z][0-9]{6}")
_EMPLOYER = re.compile(r"[1-9][0-9]{5}|[0-9]{3}")
_PARTY = re.compile(r"urn:commonroom:org:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# The three readings of a National Insurance number that official programs use; see `nino_fits`.
_NINO_READINGS = {
    "strict": re.compile(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][0-9]{6}[A-D]"),
    "ilr": re.compile(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][0-9]{6}[A-D]?"),
    "teaching-record": re.compile(
        r"[A-CEGHJ-PQR-TW-Z][A-CEGHJ-NPQR-TW-Z][0-9]{6}[A-DFMU]|[0-9]{2}[A-Z][0-9]{5}"
    ),
}
_NINO_NEVER_GIVEN = ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")

# I, O and S stand for no letter in a check; here they count in the UCI's own table of letter values.
_UCI_VALUES = {str(digit): digit for digit in range(10)}
_UCI_VALUES |= {letter: place for place, letter in enumerate("ABCDEFGHIJKLMNOP", 1)}
_UCI_VALUES |= {letter: place for place, letter in enumerate("QRSTUVW", 10)}
_UCI_VALUES |= {letter: place for place, letter in enumerate("XYZ", 10)}
_UPN_VALUES = {str(digit): digit for digit in range(10)} | {
    letter: place for place, letter in enumerate(UPN_LETTERS)
}


class Verdict(msgspec.Struct, frozen=True):
    """What is known of one value: `verdict` is a fixed word per kind, `reason` a sentence without the value."""

    kind: str
    value: str
    verdict: str
    reason: str

    @property
    def is_valid(self) -> bool:
        """True where a record may carry the value."""
        return self.verdict in GOOD_VERDICTS


GOOD_VERDICTS = frozenset({"valid", "permanent", "temporary", "temporary (allowed placeholder)"})


def upn_check_letter(body: str) -> str:
    """The check letter for characters 2 to 13 of a UPN (11 digits, then a digit or letter).

    Raises ValueError for any other text. Source: CBDS 100001; a letter at character 13 counts as its place (A=0).
    """
    if not _UPN_BODY.fullmatch(body):
        raise ValueError("the body of a UPN is 11 digits and then a digit or a letter other than I, O and S")
    total = sum(weight * _UPN_VALUES[character] for weight, character in enumerate(body, 2))
    return UPN_LETTERS[total % 23]


def make_upn(
    la: str | int, establishment: str | int, year: int, serial: int, temporary: str | None = None
) -> str:
    """A UPN of the school that gives it: LA and establishment number, year of allocation, serial number.

    `year` may be 2024 or 24. `temporary` is the letter that ends a temporary UPN, whose serial has two digits
    (0-99); otherwise 0-999. Raises ValueError when a part does not fit.
    """
    if not 0 <= serial <= (99 if temporary else 999):
        raise ValueError(f"serial {serial} does not fit a {'temporary' if temporary else 'permanent'} UPN")
    tail = f"{serial:02}{temporary}" if temporary else f"{serial:03}"
    body = f"{int(la):03}{int(establishment):04}{year % 100:02}{tail}"
    return upn_check_letter(body) + body


def uln_check_digit(stem: str) -> str | None:
    """The tenth digit for nine digits of a ULN, or None where no ULN with them exists (remainder 0).

    Raises ValueError unless `stem` is nine digits not starting with 0. Source: CBDS 100016.
    """
    if not _ULN_STEM.fullmatch(stem):
        raise ValueError("the stem of a ULN is nine digits and does not start with 0")
    remainder = sum(weight * int(digit) for weight, digit in zip(range(10, 1, -1), stem, strict=True)) % 11
    return None if remainder == 0 else str(10 - remainder)


def uci_check_letter(body: str) -> str:
    """The check letter for the first twelve characters of a UCI. Raises ValueError for any other text."""
    if not _UCI_BODY.fullmatch(body):
        raise ValueError("the body of a UCI is 5 digits, 0 or a board letter, and 6 digits")
    total = sum(
        weight * _UCI_VALUES[character] for weight, character in zip(range(16, 4, -1), body, strict=True)
    )
    return UCI_LETTERS[total % 17]


def nino_fits(value: str, reading: str = "strict") -> bool:
    """Whether a National Insurance number fits a reading: `strict`, `ilr` (suffix optional) or `teaching-record`.

    The teaching-record reading first drops spaces and upper-cases, takes the suffixes F, M, U, prefixes with Q and the
    old temporary form. The ILR's reading knows no forbidden prefixes, as its own rule does not.
    """
    if reading == "teaching-record":
        value = re.sub(r"\s", "", value).upper()
    never_given = reading != "ilr" and value.startswith(_NINO_NEVER_GIVEN)
    return bool(_NINO_READINGS[reading].fullmatch(value)) and not never_given


def form(kind: str) -> str:
    """The stored form as a regular expression of the whole text, for programs that cannot reckon check characters.

    No valid value fails to fit. Of the kinds in `CHECKED` a value may fit and yet have a wrong check character.
    """
    return _FORMS[kind]


def canonical(kind: str, value: str) -> str:
    """The form in which a value is stored: LAESTAB without its slash, TRN as digits only, others as they are."""
    if kind == "LAESTAB":
        return value.replace("/", "", 1)
    if kind == "TRN":
        return re.sub(r"[^0-9]", "", value)
    return value


@lru_cache(maxsize=65_536)
def check(kind: str, value: str) -> Verdict:
    """The verdict on `value` as an identifier of `kind` (one of `KINDS`). Raises KeyError for an unknown kind.

    Words: UPN permanent, temporary, bad-check-letter, bad-format; ULN valid, bad-check-digit, bad-format,
    `no valid ULN`, `temporary (allowed placeholder)`; all others valid, invalid. A ULN stem may be asked about as nine
    digits and a question mark.
    """
    verdict, reason = _CHECKS[kind](value)
    return Verdict(kind, value, verdict, reason)


def is_valid(kind: str, value: str) -> bool:
    """True where a record may carry the value (temporary UPNs and the placeholder ULN included)."""
    return check(kind, value).is_valid


def _check_upn(value: str) -> tuple[str, str]:
    if not _UPN.fullmatch(value):
        return "bad-format", "a UPN is a letter, 11 digits, and a digit or letter; I, O and S are not used"
    if upn_check_letter(value[1:]) != value[0]:
        return "bad-check-letter", "the first letter does not agree with the twelve characters after it"
    if value[-1].isdigit():
        return "permanent", "ends in a digit"
    return "temporary", "ends in a letter"


def _check_uln(value: str) -> tuple[str, str]:
    if value == ULN_PLACEHOLDER:
        return "temporary (allowed placeholder)", "reserved for a learner whose ULN is not yet known"
    stem, last = value[:9], value[9:]
    asked_about_stem = last == "?" and _ULN_STEM.fullmatch(stem)
    if not asked_about_stem and not _ULN.fullmatch(value):
        return "bad-format", "a ULN is ten digits and does not start with 0"
    digit = uln_check_digit(stem)
    if digit is None:
        return "no valid ULN", "these nine digits leave remainder 0, so no ULN begins with them"
    if asked_about_stem:
        return "bad-format", "the check digit is missing"
    if digit != last:
        return "bad-check-digit", "the last digit does not agree with the nine before it"
    return "valid", "the check digit agrees"


def _check_uci(value: str) -> tuple[str, str]:
    if not _UCI.fullmatch(value):
        return "invalid", "a UCI is 5 digits, 0 or a board letter, 6 digits and a check letter"
    if uci_check_letter(value[:12]) != value[12]:
        return "invalid", "the last letter does not agree with the twelve characters before it"
    return "valid", "the check letter agrees"


def _check_nino(value: str) -> tuple[str, str]:
    if value[:2] in _NINO_NEVER_GIVEN:
        return "invalid", "no National Insurance number begins with this prefix"
    if not nino_fits(value):
        return "invalid", "a National Insurance number is two letters, six digits and a letter A to D"
    return "valid", "the form agrees"


def _check_trn(value: str) -> tuple[str, str]:
    digits = canonical("TRN", value)
    if not _TRN.fullmatch(digits) or digits == "0000000":
        return "invalid", "a teacher reference number has seven digits, not all 0"
    return "valid", "the form agrees"


def _form(pattern: re.Pattern[str], reason: str) -> Callable[[str], tuple[str, str]]:
    """A check for identifiers that have a form and no check character."""

    def judge(value: str) -> tuple[str, str]:
        return ("valid", "the form agrees") if pattern.fullmatch(value) else ("invalid", reason)

    return judge


_CHECKS: dict[str, Callable[[str], tuple[str, str]]] = {
    "UPN": _check_upn,
    "ULN": _check_uln,
    "UKPRN": _form(_UKPRN, "a UKPRN is eight digits and starts with 1"),
    "URN": _form(_URN, "a URN is six digits and does not start with 0"),
    "LAESTAB": _form(_LAESTAB, "a LAESTAB is three digits of the LA and four of the establishment"),
    "NINO": _check_nino,
    "TRN": _check_trn,
    "UCI": _check_uci,
    "EMPLOYER": _form(
        _EMPLOYER, "an employer of staff is the URN of a school or the three digits of an authority"
    ),
    "PARTY": _form(_PARTY, "a party is urn:commonroom:org: and a UUID in lower case"),
}
KINDS = tuple(_CHECKS)
CHECKED = ("UPN", "ULN", "UCI")
_FORMS = {
    "UPN": _UPN.pattern,
    "ULN": _ULN.pattern,
    "UKPRN": _UKPRN.pattern,
    "URN": _URN.pattern,
    "LAESTAB": "[0-9]{7}",
    "NINO": f"(?!{'|'.join(_NINO_NEVER_GIVEN)}){_NINO_READINGS['strict'].pattern}",
    "TRN": f"(?!0000000){_TRN.pattern}",
    "UCI": _UCI.pattern,
    "EMPLOYER": _EMPLOYER.pattern,
    "PARTY": _PARTY.pattern,
}
