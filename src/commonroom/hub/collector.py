"""The collector: leases letters and reports for all who wait in this process, in one statement for many.

Whoever has just come or heard a ring looks with the lease itself. Whoever looks only because time has passed, of whom
there may be thousands, has a probe made first, and most end there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from commonroom.hub import mailbox, reports
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.mailbox import LeasedLetter, Look
from commonroom.hub.reports import LeasedReport
from commonroom.hub.rounds import Asked, Rounds
from commonroom.hub.settling import Settler, wish
from commonroom.hub.windows import Windows
from commonroom.settings import Settings

MAX_LOOKS = 64
MAX_LETTERS = 2_000  # of one round, by what its callers ask for
MAX_PROBES = 1_000

Kind = Literal["letters", "reports", "all"]


class Found(msgspec.Struct, frozen=True):
    """What one look brought, under a lease; bodies are still sealed."""

    letters: list[LeasedLetter]
    reports: list[LeasedReport]

    def __bool__(self) -> bool:
        return bool(self.letters or self.reports)


class Errand(msgspec.Struct, frozen=True):
    """Who wants what, and how much at most."""

    party: str
    end_point: str
    limit: int
    kind: Kind


class Prober(Rounds[str, bool]):
    """Which parties may have something to collect."""

    def _together(self) -> list[Asked[str, bool]]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_PROBES))]

    async def _do(self, connection: Any, wishes: Sequence[str]) -> list[bool]:
        found = await mailbox.waiting(connection, list(set(wishes)))
        return [party in found for party in wishes]


class Collector(Rounds[Errand, Found]):
    """One per hub process: collects for all callers. The letters of whoever has gone meanwhile are given back."""

    def __init__(self, settings: Settings, windows: Windows, doorbell: Doorbell, settler: Settler) -> None:
        super().__init__(settings)
        self._settler = settler
        self._windows = windows
        self._doorbell = doorbell
        self._same: list[Asked[Errand, Found]] = []
        self.prober = Prober(settings)

    async def wait(
        self, errand: Errand, seconds: float, check: Callable[[], Any], gone: asyncio.Future[Any]
    ) -> Found:
        """What there is, as soon as there is something; nothing when `seconds` have passed or the caller is `gone`.

        `gone` is looked at before and after every look, so that a caller that has hung up takes nothing with it, and
        `check` is called: it raises when the caller may no longer collect.
        """
        deadline = time.monotonic() + seconds
        with self._doorbell.waiter(errand.party) as bell:
            likely = True
            while not gone.done():
                check()
                if (likely or await self.prober.ask(errand.party)) and (found := await self.ask(errand)):
                    if not gone.done():
                        return found
                    await self.give_back(errand, found)
                    break
                left = deadline - time.monotonic()
                if left <= 0 or self._doorbell.closed:
                    break
                likely = await bell.wait(min(left, self._doorbell.look_again_seconds), gone)
        return Found([], [])

    async def give_back(self, errand: Errand, found: Found) -> None:
        """Its letters are offered again at once; reports when their lease ends."""
        if found.letters:
            names = [str(letter.delivery) for letter in found.letters]
            await self._settler.ask(wish("release", names, errand.party, errand.end_point))
            self._doorbell.ring([errand.party])

    def _together(self) -> list[Asked[Errand, Found]]:
        """Errands of as many parties; of each party one, so that no two reach for the same letters."""
        group: dict[str, Asked[Errand, Found]] = {}
        later: list[Asked[Errand, Found]] = []
        self._same = []
        letters = 0
        while self._waiting and len(group) < MAX_LOOKS and letters < MAX_LETTERS:
            asked = self._waiting.popleft()
            if asked.answer.done():
                continue
            first = group.setdefault(asked.wish.party, asked)
            if first is asked:
                letters += asked.wish.limit
                continue
            later.append(asked)
            if _alike(first.wish, asked.wish):
                self._same.append(asked)
        self._waiting.extendleft(reversed(later))
        return list(group.values())

    async def _do(self, connection: Any, errands: Sequence[Errand]) -> list[Found]:
        letters: list[list[LeasedLetter]] = [[] for _ in errands]
        told: list[list[LeasedReport]] = [[] for _ in errands]
        seconds = float(self._settings.lease_seconds)
        looks = {
            place: Look(errand.party, errand.end_point, errand.limit)
            for place, errand in enumerate(errands)
            if errand.kind != "reports"
        }
        if looks:
            found = await mailbox.lease_all(
                connection, list(looks.values()), seconds, closed=self._windows.closed
            )
            for place, some in zip(looks, found, strict=True):
                letters[place] = some
        rooms = {
            place: (errand.party, errand.end_point, room)
            for place, errand in enumerate(errands)
            if errand.kind != "letters" and (room := errand.limit - len(letters[place]))
        }
        if rooms:
            leased = await reports.lease(connection, list(rooms.values()), seconds)
            for place, said in zip(rooms, leased, strict=True):
                told[place] = said
        brought = [Found(*both) for both in zip(letters, told, strict=True)]
        self._tell_the_same(errands, brought)
        return brought

    def _tell_the_same(self, errands: Sequence[Errand], brought: Sequence[Found]) -> None:
        """Where nothing was found, there was nothing either for those who asked for the same before the look began."""
        empty = [errand for errand, found in zip(errands, brought, strict=True) if not found]
        for asked in self._same:
            if not asked.answer.done() and any(_alike(errand, asked.wish) for errand in empty):
                asked.answer.set_result(Found([], []))

    async def _unclaimed(self, errand: Errand, result: Found) -> None:
        await self.give_back(errand, result)


def _alike(one: Errand, other: Errand) -> bool:
    return (one.party, one.end_point, one.kind) == (other.party, other.end_point, other.kind)
