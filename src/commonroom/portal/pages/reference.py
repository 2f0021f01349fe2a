"""What everyone may look up: measures, the data dictionary, the accessibility statement."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commonroom import standard
from commonroom.portal import words
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, paths, stem
from commonroom.portal.tables import Column, Link, Table
from commonroom.standard import Codeset, Entity
from commonroom.warehouse import Measure, combinations, load_measures

HOME = Link("Home", "/")
DICTIONARY = Link("Data dictionary", "/standard")


@get(paths("/measures"))
async def measures(
    request: AnyRequest, house: NamedDependency[House], visit: NamedDependency[Visit]
) -> Response[bytes]:
    """Each measure in plain words, from its own declaration."""
    found = [one.as_measure() for one in combinations.load().values()]
    found = sorted([*load_measures().values(), *found], key=lambda one: one.name)
    table = Table(
        name="measures",
        title="Measures",
        columns=(
            Column("title", "Measure"),
            Column("meaning", "What it says"),
            Column("source", "Whose definition"),
            Column("taken", "Taken"),
            Column("withheld", "Withheld"),
            Column("name", "Name in addresses", "code"),
        ),
        rows=tuple(
            (one.title, one.meaning, one.source, taken_when(one), withheld_when(one), one.name)
            for one in found
        ),
    )
    page = Page(
        template="measures.html",
        title="How figures are made",
        summary="Each measure is defined once, here, and computed the same way for a school, an authority and England.",
        tables=(table,),
        trail=(HOME,),
        section="measures",
        more={"measures": [(one, taken_when(one), withheld_when(one)) for one in found]},
    )
    return house.answer(request, visit, page)


def withheld_when(measure: Measure) -> str:
    """The measure's rule of suppression in words."""
    if measure.name in combinations.load():
        return f"where one of these is: {_made_of(measure)}"
    rule = measure.suppression
    parts = []
    if rule.units_below:
        parts.append(f"it is about fewer than {rule.units_below} pupils")
    if rule.numerator_below:
        parts.append(f"it counts fewer than {rule.numerator_below} of them, but not none")
    return f"when {' or '.join(parts)}" if parts else "never"


def taken_when(measure: Measure) -> str:
    """When it is taken; what is made of other measures is taken with them."""
    return f"with {_made_of(measure)}" if measure.name in combinations.load() else measure.taken


def _made_of(measure: Measure) -> str:
    return words.joined([f"{one.title} ({one.name})" for one in combinations.parts(measure)])


@get(paths("/standard"))
async def dictionary(
    request: AnyRequest, house: NamedDependency[House], visit: NamedDependency[Visit]
) -> Response[bytes]:
    """The entities, code sets and events of the common language."""
    language = standard.load()
    entities = Table(
        name="entities",
        title="Entities",
        columns=(
            Column("name", "Entity"),
            Column("description", "What it is"),
            Column("items", "Items", "number"),
            Column("key", "Key"),
        ),
        rows=tuple(
            (Link(one.title, f"/standard/{one.name}"), one.description, len(one.items), ", ".join(one.key))
            for one in language.entities.values()
        ),
    )
    codesets = Table(
        name="codesets",
        title="Code sets",
        columns=(
            Column("name", "Code set"),
            Column("description", "What it lists"),
            Column("codes", "Codes", "number"),
        ),
        rows=tuple(
            (Link(one.title, f"/standard/{one.name}"), one.description, len(one.codes))
            for one in language.codesets.values()
        ),
    )
    events = Table(
        name="events",
        title="Messages",
        columns=(
            Column("type", "Type", "code"),
            Column("title", "Title"),
            Column("description", "When it is sent"),
        ),
        rows=tuple((one.type, one.title, one.description) for one in language.events.values()),
    )
    page = Page(
        template="tables.html",
        title="Data dictionary",
        summary=f"The common language of all messages, version {language.version}.",
        tables=(entities, codesets, events),
        trail=(HOME,),
        section="standard",
    )
    return house.answer(request, visit, page)


@get("/standard/{name:str}")
async def dictionary_entry(
    request: AnyRequest, house: NamedDependency[House], visit: NamedDependency[Visit], name: FromPath[str]
) -> Response[bytes]:
    """One entity with its items, or one code set with its codes."""
    language = standard.load()
    wanted = stem(name)
    if wanted in language.codesets:
        return house.answer(request, visit, _codeset_page(language.codesets[wanted]))
    return house.answer(
        request, visit, _entity_page(standard.named(language.entities, wanted, "entity or code set"))
    )


def _entity_page(entity: Entity) -> Page:
    items = Table(
        name="items",
        title="Items",
        columns=(
            Column("name", "Item", "code"),
            Column("title", "Title"),
            Column("description", "What it is"),
            Column("type", "Type"),
            Column("required", "Required"),
            Column("personal", "Personal"),
            Column("cbds", "CBDS number"),
        ),
        rows=tuple(
            (
                item.name,
                item.title,
                item.description,
                Link(f"code: {item.codeset}", f"/standard/{item.codeset}")
                if item.codeset
                else item.identifier or item.type,
                item.required,
                item.personal,
                item.cbds,
            )
            for item in entity.items
        ),
        note="Personal items never enter logs, metrics, headers or addresses.",
    )
    facts = (Fact("name", "Name in messages", entity.name), Fact("key", "Key", ", ".join(entity.key)))
    return Page(
        template="tables.html",
        title=entity.title,
        summary=entity.description,
        facts=facts,
        tables=(items,),
        trail=(HOME, DICTIONARY),
        section="standard",
    )


def _codeset_page(codeset: Codeset) -> Page:
    codes = Table(
        name="codes",
        title="Codes",
        columns=(
            Column("code", "Code", "code"),
            Column("title", "Meaning"),
            Column("since", "In use since", "date"),
            Column("until", "Until", "date"),
            Column("note", "Note"),
        ),
        rows=tuple((one.code, one.title, one.since, one.until, one.note) for one in codeset.codes),
    )
    facts = (Fact("name", "Name in messages", codeset.name), Fact("source", "Source", codeset.source))
    return Page(
        template="tables.html",
        title=codeset.title,
        summary=codeset.description,
        facts=facts,
        tables=(codes,),
        trail=(HOME, DICTIONARY),
        section="standard",
    )


@get(paths("/accessibility"))
async def accessibility(
    request: AnyRequest, house: NamedDependency[House], visit: NamedDependency[Visit]
) -> Response[bytes]:
    """The accessibility statement."""
    page = Page(template="accessibility.html", title="Accessibility", trail=(HOME,))
    return house.answer(request, visit, page)


HANDLERS = [measures, dictionary, dictionary_entry, accessibility]
