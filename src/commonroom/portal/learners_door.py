"""The door to the register of learners: people come with their session, machines with the token of their end point.

What changes something must carry a person's form token; a machine's own token is proof enough, no browser sends it.
"""

from __future__ import annotations

import time
from typing import Any

from litestar.di import NamedDependency

from commonroom.identity import EndedKeys, Principal, Tokens
from commonroom.portal import security
from commonroom.portal.house import AnyRequest, House, Visit, provide_visit
from commonroom.portal.returns_door import TOKEN_HEADER
from commonroom.problems import Problem
from commonroom.registers.learners import api
from commonroom.registers.learners.callers import Rates
from commonroom.registers.learners.numbers import Numbers
from commonroom.settings import Settings

# So long after its key has ended a token may still open the door, as at the hub.
LOOK_SECONDS = 1.0


class LearnersDoor:
    """One portal process's belongings for the register: tokens, rates, and the key of numbers once it is wanted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ended = EndedKeys()
        self._looked = float("-inf")
        self._tokens: Tokens | None = None
        self._numbers: Numbers | None = None
        self.rates = Rates(settings.learner_look_ups_a_minute)

    def numbers(self) -> Numbers:
        """What gives numbers; opened once."""
        self._numbers = self._numbers or Numbers.of(self._settings)
        return self._numbers

    async def machine(self, conn: Any, authorization: str) -> Principal:
        """The end point of a bearer token. Raises Problem CR-031 (401)."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            await self._ended.look(conn)
            self._looked = time.monotonic()
        self._tokens = self._tokens or Tokens(self._settings, self._ended)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            remedy = "Ask the hub's POST /token for a token and send it as `Authorization: Bearer <token>`."
            raise Problem(
                "CR-031", "There is no access token.", status=401, where="Authorization", remedy=remedy
            )
        return self._tokens.authenticate(token.strip())

    def counter(self, house: House, principal: Principal, form_token: str = "") -> api.Counter:
        """What the handlers of the register work with."""
        return api.Counter(principal, house.settings, house.pool, self.rates, self.numbers, form_token)


async def provide_learners(request: AnyRequest, house: NamedDependency[House]) -> api.Counter:
    """Dependency `learners`. Holds no database connection while a file arrives."""
    door: LearnersDoor = request.app.state.learners
    authorization = request.headers.get("Authorization", "")
    async with house.pool.acquire() as conn:
        if authorization:
            return door.counter(house, await door.machine(conn, authorization))
        visit: Visit = await provide_visit(request, conn)
    if request.method != "GET":
        token, site = request.headers.get(TOKEN_HEADER, ""), request.headers.get("Sec-Fetch-Site", "")
        security.check_form(house.form_key, visit.browser, token, site)
    form_token = security.form_token(house.form_key, visit.browser) if visit.signed_in else ""
    return door.counter(house, visit.principal, form_token)
