"""A provider's own contacts and courses, a form for its own people; and the page of a provider that is no school."""

from __future__ import annotations

import re
from typing import Any, Literal

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, stem
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Cell, Column, Link, Table
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.registers.providers import SchoolSummary, api, own
from commonroom.registers.providers.as_of import State

FIND = Link("Find a school", "/find")
PATH = "/my/provider"
LARGEST_FORM = 512 * 1024
LONGEST_TEXT = 200_000
SEE_OTHER: Literal[303] = 303
TITLES = {
    "provider": "Learning provider",
    "trust": "Academy trust",
    "group": "Group",
    "school": "School",
    "local_authority": "Local authority",
}
SHORT_FORMS = {word.lower(): word for word in ("UKPRN", "UKRLP", "URN", "UID", "LAESTAB", "LA")}
# What the lines of each field hold, in the order in which they are typed with strokes between.
FIELDS: dict[str, tuple[str, ...]] = {
    "contacts": ("role", "telephone", "email", "website"),
    "courses": ("title", "reference", "qualification", "level", "mode", "start", "page"),
    "performance": ("title", "page"),
}
COLUMNS = (
    Column("since", "From"),
    Column("item", "What changed"),
    Column("before", "Before"),
    Column("after", "After"),
)


@get(PATH)
async def own_entries(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[Any]:
    """The form with what is kept now."""
    party = _party(visit)
    kept = await own.kept(conn, party)
    texts = {field: _lines(field, kept.own) for field in FIELDS}
    return house.answer(
        request, visit, _form(texts, kept.revision, saved=bool(request.query_params.get("saved")))
    )


@post(PATH, status_code=SEE_OTHER, request_max_body_size=LARGEST_FORM)
async def keep_entries(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[Any]:
    """Keep what was typed; what cannot be right shows the form again with the reason."""
    fields = await house.check_form(request, visit)
    party = _party(visit)
    texts = {field: fields.get(field, "")[:LONGEST_TEXT] for field in FIELDS}
    revision = int(number) if (number := fields.get("revision", "")).isdecimal() and len(number) < 19 else 0
    try:
        await own.keep(conn, visit.principal, party, _read(texts), revision)
    except Problem as problem:
        if problem.code not in ("CR-083", "CR-084"):
            raise
        words = " ".join(part for part in (problem.where, problem.detail, problem.remedy) if part)
        return house.answer(request, visit, _form(texts, revision, problem=words, status=problem.status))
    return Redirect(f"{PATH}?saved=1", status_code=SEE_OTHER)


@get("/providers/{scheme:str}/{value:str}")
async def provider(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    scheme: FromPath[str],
    value: FromPath[str],
) -> Response[bytes]:
    """A college, training provider, trust or school of another nation: what the register holds of it and how it changed."""
    number = stem(value)
    states = await providers.versions(conn, number, scheme) if scheme in api.SCHEMES else []
    if not states:
        raise Problem(
            "CR-005", "The register has no such provider.", status=404, remedy="Search for it by name."
        )
    now = states[-1]
    changed: list[tuple[Cell, ...]] = [
        (version.valid_from, _label(change.item), _shown(change.before), _shown(change.after))
        for version in reversed(states[1:])
        for change in version.changes
    ]
    page = Page(
        template="provider.html",
        title=str(now.facts.get("name", number)),
        facts=tuple(Fact(item, _label(item), _shown(value)) for item, value in sorted(now.facts.items())),
        tables=(
            Table(
                name="history",
                title="What changed",
                columns=COLUMNS,
                rows=tuple(changed),
                empty="Nothing has changed since the register knows of it.",
            ),
        ),
        trail=(HOME, FIND),
        section="find",
        more={
            "caption": f"{scheme.upper() if len(scheme) < 6 else scheme.replace('-', ' ').title()} {number}"
        },
    )
    return house.answer(request, visit, page)


def _label(item: str) -> str:
    """An item in words: `legal_address1` is Legal address 1, `ukrlp_status` is UKRLP status."""
    words = [SHORT_FORMS.get(word, word) for word in re.sub(r"([a-z])([0-9])", r"\1 \2", item).split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def address(found: SchoolSummary) -> str:
    """Where the page of something found is."""
    return f"/schools/{found.urn}" if found.scheme == "urn" else f"/providers/{found.scheme}/{found.urn}"


def kind_of(found: SchoolSummary | State) -> str:
    """What it is, in words."""
    return TITLES.get(found.kind, found.kind)


def _party(visit: Visit) -> str:
    if not visit.signed_in:
        raise Problem("CR-006", "This page is for people who have signed in.", status=401)
    if not visit.principal.party:
        raise Problem("CR-006", "This page is for people of a provider.", status=403)
    return visit.principal.party


def _form(
    texts: dict[str, str], revision: int, *, problem: str = "", saved: bool = False, status: int = 200
) -> Page:
    return Page(
        template="my_provider.html",
        title="Your contacts and courses",
        trail=(HOME,),
        section="my",
        has_form=True,
        private=True,
        status=status,
        more={"texts": texts, "revision": revision, "problem": problem, "saved": saved},
    )


def _lines(field: str, kept: own.Own) -> str:
    """Entries as they are typed: one a line, strokes between, no strokes at the end."""
    lines = []
    for entry in getattr(kept, field):
        cells = [str(getattr(entry, name) or "") for name in FIELDS[field]]
        lines.append(" | ".join(cells).rstrip(" |"))
    return "\n".join(lines)


def _read(texts: dict[str, str]) -> own.Own:
    """What was typed, as entries. Raises Problem CR-083 naming the line that is not one."""
    given: dict[str, list[dict[str, str]]] = {}
    for field, names in FIELDS.items():
        entries = given[field] = []
        for number, line in enumerate(texts[field].splitlines(), start=1):
            cells = [cell.strip() for cell in line.split("|")]
            if not any(cells):
                continue
            if len(cells) > len(names):
                raise Problem(
                    "CR-083",
                    f"There are more than {len(names)} parts.",
                    where=f"{field}, line {number}:",
                    remedy="Put one entry on each line.",
                    status=422,
                )
            entries.append({name: cell for name, cell in zip(names, cells, strict=False) if cell})
    return own.read(given)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(
            " ".join(str(part) for part in one.values()) if isinstance(one, dict) else str(one)
            for one in value
        )
    return "" if value is None else str(value)


HANDLERS = [own_entries, keep_entries, provider]
