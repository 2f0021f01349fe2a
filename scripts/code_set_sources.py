"""The published lists that code sets come from, and how each is read: see `code_sets.py`."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

_SCHEMA = "{http://www.w3.org/2001/XMLSchema}"
_SIGNS = re.compile(r"\s*(\*+|\++|\(\d\)|;)\s*$")


class Row(NamedTuple):
    """One code."""

    code: str
    title: str
    since: str = ""
    until: str = ""
    note: str = ""
    invented: bool = False
    attributes: Mapping[str, str] = MappingProxyType({})


class Recipe(NamedTuple):
    """One code set and where its rows are found."""

    name: str
    title: str
    description: str
    source: str
    rows: Callable[[Path], Iterable[Row]]
    open: bool = False
    attributes: Mapping[str, str] = MappingProxyType({})


def small(
    name: str,
    since: dict[str, str] | None = None,
    until: dict[str, str] | None = None,
    note: str = "",
    titles: Mapping[str, str] | None = None,
) -> Callable[[Path], Iterator[Row]]:
    """A set of small_codes.csv."""

    def rows(facts: Path) -> Iterator[Row]:
        for row in _csv(facts / "codesets" / "small_codes.csv"):
            if row["set"] == name:
                code = row["code"]
                title = (titles or {}).get(code, _clean(row["meaning"]))
                yield Row(code, title, (since or {}).get(code, ""), (until or {}).get(code, ""), note)

    return rows


def cbds(
    number: str,
    extra: Iterable[Row] = (),
    leave_out: Iterable[str] = (),
    titles: Mapping[str, str] | None = None,
) -> Callable[[Path], Iterator[Row]]:
    """A set of the Common Basic Data Set of 2013, without its headings and footnotes."""

    def rows(facts: Path) -> Iterator[Row]:
        lists = json.loads((facts / "cbds" / "cbds2013_codesets.json").read_text("utf-8"))
        seen = set(leave_out)
        for code, title, *_ in lists[number]["rows"]:
            if code and title and code not in seen and not code.startswith(("Notes", "*", "To check")):
                seen.add(code)
                yield Row(code, (titles or {}).get(code, _clean(title)))
        yield from extra

    return rows


def of_schema(kind: str, titles: Mapping[str, str] | None = None) -> Callable[[Path], Iterator[Row]]:
    """A simple type of the Children in Need schema of 2026; codes newer than 2017 say since which year."""

    def rows(facts: Path) -> Iterator[Row]:
        folder = facts / "cin" / "xsd"
        years = {year: _enumeration(folder / f"CIN_schema_{year}.xsd", kind) for year in range(2017, 2027)}
        for code, title in years[2026].items():
            first = min(year for year, codes in years.items() if code in codes)
            note = "" if first == 2017 else f"In the schema since {first}."
            yield Row(code, (titles or {}).get(code, _calm(title)), note=note)

    return rows


def exclusion_reasons(facts: Path) -> Iterator[Row]:
    """The reasons of the census, those before 2020/21 and those of the list of May 2026, each with its days."""
    before = {row.code for row in cbds("D00024")(facts)}
    for row in _csv(facts / "codesets" / "exclusion_reasons.csv"):
        code, valid = row["code"], row["valid"]
        if valid.startswith("added"):
            note = "In the list of May 2026; the first day of use is not published."
            yield Row(code, row["meaning"], since="2026-09-01", note=note)
        elif valid.startswith("to "):
            yield Row(code, row["meaning"], until="2020-08-31")
        else:
            yield Row(code, row["meaning"], since="" if code in before else "2020-09-01")


def exclusion_categories(facts: Path) -> Iterator[Row]:
    """The categories; a suspension had another code until July 2021."""
    days = {"SUSP": ("2021-08-01", ""), "FIXD": ("", "2021-07-31")}
    for row in _csv(facts / "codesets" / "exclusion_categories.csv"):
        since, until = days.get(row["code"], ("", ""))
        yield Row(row["code"], row["meaning"], since, until)


def ethnicities(facts: Path) -> Iterator[Row]:
    """The longer list, each code with the main code it belongs to."""
    mains = [row["code"] for row in _csv(facts / "codesets" / "ethnicity_108.csv") if row["level"] == "main"]
    guessed = {
        "WNIR": "WBRI", "WROG": "WROM", "WROR": "WROM", "WROO": "WROM", "ABRI": "AOTH", "AWEL": "AOTH",
        "BBRI": "BOTH", "BWEL": "BOTH", "ORAB": "OOTH",
    }  # fmt: skip
    for row in _csv(facts / "codesets" / "ethnicity_108.csv"):
        code, main, name = row["code"], row["dfe_main_code"], row["name"]
        note = ""
        if not name:
            main, name = guessed[code], f"{code} (name not published)"
            note = (
                "New in the census of 2025; name and main code are not published: the main code is a guess."
            )
        assert main in mains, code
        yield Row(code, name, note=note, attributes={"main": main})


def authorities(facts: Path) -> Iterator[Row]:
    """The authorities of today and those abolished since 2017, then the two of the simulated county."""
    history = _csv(facts / "la_codes" / "la_history_2017_2025.csv")
    begun = {"838": 2019, "839": 2019, "940": 2021, "941": 2021, "942": 2023, "943": 2023}
    ended = {"835": 2019, "836": 2019, "837": 2019, "909": 2023, "928": 2021}
    found: dict[str, Row] = {}
    for row in _csv(facts / "la_codes" / "la_current_153.csv"):
        code = row["old_la_code"]
        earlier = [
            one for one in history if one["old_la_code"] == code and one["new_la_code"] != row["new_la_code"]
        ]
        note = " ".join(
            f"ONS code {one['new_la_code']} until {one['last_year'].split('.')[0]}." for one in earlier
        )
        attributes = {"region": row["region_code"], "ons": row["new_la_code"]}
        since = f"{begun[code]}-04-01" if code in begun else ""
        found[code] = Row(code, row["la_name"], since, note=note, attributes=attributes)
    for row in history:
        code = row["old_la_code"]
        if code in ended:
            attributes = {"region": row["region_code"], "ons": row["new_la_code"]}
            found[code] = Row(code, row["la_name"], until=f"{ended[code]}-03-31", attributes=attributes)
    yield from (found[code] for code in sorted(found))
    for code, title in (("997", "Westmarch"), ("998", "Eastvale")):
        yield Row(code, title, invented=True, attributes={"region": "E12000009", "ons": "none"})


def countries(facts: Path) -> Iterator[Row]:
    """Countries by ISO 3166-1; those of the past come last."""
    lists = json.loads((facts / "cbds" / "cbds2013_codesets.json").read_text("utf-8"))
    rows = lists["D00008"]["rows"][1:]
    seen: set[str] = set()
    for current in ("Yes", "No"):
        for code, name, _, alpha2, _, is_current, _, *_ in rows:
            if is_current == current and code not in seen and re.fullmatch("[A-Z]{3}", code):
                seen.add(code)
                note = "" if current == "Yes" else "No longer a country of this name."
                yield Row(code, name.strip(), note=note, attributes={"alpha2": alpha2.strip() or "none"})


def finance_lines(facts: Path) -> Iterator[Row]:
    """Lines of consistent financial reporting: names from the header of a public file, newer ones from memory."""
    with (facts / "gias_finance" / "maintained_schools_master_list.csv").open(encoding="utf-8-sig") as file:
        header = next(csv.reader(file))
    named = {}
    for cell in header:
        match = re.fullmatch(r"((?:OB|CI|CE|I|E|B)\d\d[ab]?)\s+(.*)", cell.strip())
        if match:
            named[match[1]] = re.sub(r"\s+", " ", match[2]).strip()
    newer = {
        "I08a": "Income from letting premises", "I08b": "Other income from facilities and services",
        "I18c": "Additional grant for schools: third part", "I18d": "Additional grant for schools: fourth part",
        "E20A": "ICT: connectivity", "E20B": "ICT: onsite servers", "E20C": "ICT: learning resources",
        "E20D": "ICT: administration software and systems", "E20E": "ICT: laptops, desktops and tablets",
        "E20F": "ICT: other hardware", "E20G": "ICT: support",
        "CE04A": "Capital ICT: connectivity", "CE04B": "Capital ICT: onsite servers",
        "CE04C": "Capital ICT: laptops, desktops and tablets", "CE04D": "Capital ICT: other hardware",
        "CE04E": "Capital ICT: other", "B07": "Outstanding capital loans",
    }  # fmt: skip
    kinds = {
        "OB": "balance",
        "CI": "capital income",
        "CE": "capital expenditure",
        "I": "income",
        "E": "expenditure",
    }
    for code, title in {**named, **newer}.items():
        kind = next((kind for start, kind in kinds.items() if code.startswith(start)), "balance")
        note = "The name is recollected, not sourced." if code in newer else ""
        since, until = _finance_days(code)
        yield Row(code, title, since, until, note, attributes={"kind": kind})


def _finance_days(code: str) -> tuple[str, str]:
    if re.fullmatch("E20[A-G]|CE04[A-E]", code):
        return "2024-04-01", ""
    return "", {"E20": "2024-03-31", "CE04": "2024-03-31", "I18d": "2025-03-31"}.get(code, "")


def return_statuses(facts: Path) -> Iterator[Row]:
    """Where a return stands in the Department's collection system."""
    for row in _csv(facts / "codesets" / "collect_return_statuses.csv"):
        yield Row(row["status_code"], row["status"].replace("_", " ").capitalize())


def census_codes(column: str, titles: dict[str, str], note: str) -> Callable[[Path], Iterator[Row]]:
    """The codes of a column of the census of 2026, named by us where the list has codes only."""

    def rows(facts: Path) -> Iterator[Row]:
        path = facts / "structures" / "school_census_2026_codes.csv"
        for row in _csv(path):
            if row["column"] == column:
                yield Row(row["code"], titles[row["code"]], note=note)

    return rows


def subjects(facts: Path) -> Iterator[Row]:
    """Subjects, without those of the early years profile, which assessments alone use."""
    lists = json.loads((facts / "cbds" / "cbds2013_codesets.json").read_text("utf-8"))
    seen = set()
    for code, title, *_ in lists["D00115"]["rows"]:
        if re.fullmatch("[A-Z]{3}", code) and code not in seen and "(1)" not in title:
            seen.add(code)
            yield Row(code, _clean(title))


def _enumeration(schema: Path, kind: str) -> dict[str, str]:
    """Codes of a simple type with their documentation; none where the schema lacks the type."""
    root = ElementTree.parse(schema).getroot()  # noqa: S314 - our own copy of a published schema
    found = {}
    for one in root.iterfind(f"{_SCHEMA}simpleType[@name='{kind}']//{_SCHEMA}enumeration"):
        found[one.attrib["value"]] = one.findtext(f".//{_SCHEMA}documentation") or ""
    return found


def _clean(text: str) -> str:
    """A label without line breaks and footnote signs."""
    plain = re.sub(r"\s+", " ", text).strip()
    while (shorter := _SIGNS.sub("", plain)) != plain:
        plain = shorter
    return plain


def _calm(text: str) -> str:
    """A label of the schema without shouted words and stray brackets."""
    calm = re.sub(r"\b(?!UASC)[A-Z]{4,}\b", lambda match: match[0].lower(), _clean(text.lstrip("(")))
    return calm[:1].upper() + calm[1:]


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
