"""The door to /api/returns: who has signed in comes as what they are; what changes something must carry our form token."""

from __future__ import annotations

from litestar.di import NamedDependency

from commonroom.portal import security
from commonroom.portal.house import AnyRequest, House, provide_visit
from commonroom.returns import api

TOKEN_HEADER = "X-Form-Token"  # noqa: S105 - the name of a header


async def provide_caller(request: AnyRequest, house: NamedDependency[House]) -> api.Caller:
    """Dependency `caller`. Holds no database connection while a file arrives."""
    async with house.pool.acquire() as connection:
        visit = await provide_visit(request, connection)
    if request.method != "GET":
        token, site = request.headers.get(TOKEN_HEADER, ""), request.headers.get("Sec-Fetch-Site", "")
        security.check_form(house.form_key, visit.browser, token, site)
    token = security.form_token(house.form_key, visit.browser) if visit.signed_in else ""
    return api.provide_caller(visit.principal, house.settings, house.pool, token)
