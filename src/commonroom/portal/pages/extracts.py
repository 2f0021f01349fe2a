"""The register of extracts: who outside was given which items, what for, under which law and until when."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from commonroom import standard
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Page, paths
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Column, Table
from commonroom.warehouse.extracts.model import Declaration
from commonroom.warehouse.extracts.register import announced

STATES = {"approved": "Approved", "frozen": "Handed over", "expired": "Over"}
FORMS = {"pseudonymised": "Without names", "identifiable": "With names"}


@get(paths("/extracts"))
async def extracts(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """Every extract that was approved, from its announcement on."""
    found = await announced(conn, visit.principal, "register of extracts")
    table = Table(
        name="extracts",
        title="Extracts",
        columns=(
            Column("title", "Extract"),
            Column("requester", "For"),
            Column("purpose", "Purpose"),
            Column("legal_basis", "Law"),
            Column("form", "Pupils"),
            Column("items", "What it holds"),
            Column("freeze_on", "Made on", "date"),
            Column("expires_on", "Readable until", "date"),
            Column("state", "State"),
            Column("name", "Name", "code"),
        ),
        rows=tuple(
            (
                one.declaration.title,
                one.requester,
                one.declaration.purpose,
                one.declaration.legal_basis,
                FORMS[one.declaration.form],
                _items(one.declaration),
                one.declaration.freeze_on,
                one.declaration.expires_on,
                STATES.get(one.state, one.state),
                one.name,
            )
            for one in found
        ),
        empty="No extract has been approved.",
    )
    page = Page(
        template="tables.html",
        title="Extracts for others",
        summary="Who was given data about pupils for research or other work, for how long, and how it was approved.",
        tables=(table,),
        trail=(HOME,),
        section="movements",
    )
    return house.answer(request, visit, page)


def _items(declaration: Declaration) -> str:
    entities = standard.load().entities
    return "; ".join(
        f"{entities[table.entity].title}: {', '.join(table.items)}"
        for table in declaration.tables
        if table.entity in entities
    )


HANDLERS = [extracts]
