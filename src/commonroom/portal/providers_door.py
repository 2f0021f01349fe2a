"""The door to what providers keep of themselves: who has signed in comes as what they are; changes carry our form token."""

from __future__ import annotations

from litestar.di import NamedDependency

from commonroom.portal import security
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.returns_door import TOKEN_HEADER
from commonroom.registers.providers.api import Keeper


async def provide_keeper(
    request: AnyRequest, house: NamedDependency[House], visit: NamedDependency[Visit]
) -> Keeper:
    """Dependency `keeper`."""
    if request.method != "GET":
        token, site = request.headers.get(TOKEN_HEADER, ""), request.headers.get("Sec-Fetch-Site", "")
        security.check_form(house.form_key, visit.browser, token, site)
    token = security.form_token(house.form_key, visit.browser) if visit.signed_in else ""
    return Keeper(visit.principal, token)
