"""/api/providers: records as UKRLP answers them, history and differences for everybody; own entries for who keeps them.

The portal mounts HANDLERS and gives `conn` and `keeper`. What changes something carries the form token that
`/api/providers/session` tells, in the header X-Form-Token.
"""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from commonroom.problems import Problem, add_codes
from commonroom.registers.providers import answers, as_of, changes, own
from commonroom.registers.providers.search import EVERYBODY, MAX_TEXT, count, find
from commonroom.standard import is_valid

add_codes({"CR-085": "The question to the register of providers cannot be answered"})

LINES_TYPE = "application/x-ndjson"
MOST_NUMBERS = 1_000
MOST_FOUND = 100
MAX_BODY = 1024 * 1024
MOST_LOADS = 2**63 - 1  # as large as the number of a load can be
NUL = "\0"  # which no text in the database has
OPEN_DATA = {"Cache-Control": "no-cache"}


class Keeper(msgspec.Struct, frozen=True):
    """Who asks to keep entries; the portal provides it, with the form token already proved."""

    principal: Any
    form_token: str


class KeepAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to keep, in place of what stood at `revision`."""

    own: own.Own
    revision: int


@get("/api/providers")
async def list_records(
    request: Request[Any, Any, Any],
    conn: NamedDependency[Any],
    ukprns: FromQuery[str] = "",
    after: FromQuery[str] = "",
    limit: FromQuery[str] = "",
) -> Response[bytes]:
    """Records of these numbers, or of all recorded on or after `updatedSince`; more of them behind the header `Link`."""
    since = _day(request, "updatedSince")
    numbers = _numbers(ukprns)
    if numbers is None and since is None:
        raise _unclear("Name `ukprns`, or the day `updatedSince` (yyyy-MM-dd), or both.")
    most = _most(limit, answers.MOST_AT_ONCE, answers.MOST_AT_ONCE)
    asked = answers.Asked(numbers, since, _day(request, "on"), _plain(after)[:8], most)
    found = await answers.records(conn, asked)
    headers = dict(OPEN_DATA)
    if len(found) == most:
        query = urlencode({**request.query_params.dict(), "after": found[-1]["UKPRN"]}, doseq=True)
        headers["Link"] = f'</api/providers?{query}>; rel="next"'
    return Response(answers.lines(found), media_type=LINES_TYPE, headers=headers)


@get("/api/providers/session")
async def session(keeper: NamedDependency[Keeper]) -> Response[bytes]:
    """The token that whatever changes something must carry."""
    return _json({"form_token": keeper.form_token, "party": keeper.principal.party}, private=True)


@get("/api/providers/search")
async def search(
    conn: NamedDependency[Any],
    q: FromQuery[str] = "",
    la: FromQuery[str | None] = None,
    limit: FromQuery[str] = "",
) -> Response[bytes]:
    """Schools, providers, trusts and groups by name, place, postcode or number; slips of the pen are forgiven."""
    text = q[:MAX_TEXT]
    la = None if la is None else _plain(la)
    found = await find(conn, text, la=la, kinds=EVERYBODY, limit=_most(limit, 20, MOST_FOUND))
    return _json({"found": found, "count": await count(conn, text, la=la, kinds=EVERYBODY)})


@get("/api/providers/changes")
async def differences(
    conn: NamedDependency[Any],
    since: FromQuery[str] = "",
    upto: FromQuery[str] = "",
    after: FromQuery[str] = "",
    limit: FromQuery[str] = "",
) -> Response[bytes]:
    """What the loads after number `since` changed, one change a line; more of them behind the header `Link`.

    Without `since` those of the newest load, as `commonroom providers changes` tells them.
    """
    last = _whole("upto", upto)
    newest = (
        last if last is not None else max((load.number for load in await changes.loads(conn, 1)), default=0)
    )
    if not 0 <= newest <= MOST_LOADS:
        raise _unclear("`upto` is the number of a load; /api/providers/loads lists them.")
    scheme, _, number = _plain(after)[:MAX_TEXT].partition(":")
    most = _most(limit, answers.MOST_AT_ONCE, answers.MOST_AT_ONCE)
    first = _whole("since", since)
    before = max(0, min(newest - 1 if first is None else first, newest))
    found = await changes.page(conn, before, newest, (scheme, number), most)
    headers = dict(OPEN_DATA)
    if found.after is not None:
        # With `upto`: what is loaded meanwhile would turn the pages.
        place = ":".join(found.after)
        query = urlencode({"since": before, "upto": newest, "after": place, "limit": most})
        headers["Link"] = f'</api/providers/changes?{query}>; rel="next"'
    body = msgspec.json.Encoder(enc_hook=str).encode_lines([*found.changes])
    return Response(body, media_type=LINES_TYPE, headers=headers)


@get("/api/providers/loads")
async def list_loads(conn: NamedDependency[Any]) -> Response[bytes]:
    """The files that were loaded, newest first."""
    return _json({"loads": await changes.loads(conn)})


@get("/api/providers/{ukprn:str}")
async def one_record(
    request: Request[Any, Any, Any], conn: NamedDependency[Any], ukprn: FromPath[str]
) -> Response[bytes]:
    """One record, now or `on` a day."""
    asked = answers.Asked(_numbers(ukprn), None, _day(request, "on"))
    found = await answers.records(conn, asked)
    if len(found) != 1:
        raise _nobody()
    return _json(found[0])


@get("/api/providers/{scheme:str}/{value:str}/state")
async def state(
    request: Request[Any, Any, Any], conn: NamedDependency[Any], scheme: FromPath[str], value: FromPath[str]
) -> Response[bytes]:
    """What held of an organisation `on` a day; `scheme` is urn, ukprn, la, group, wales, scotland, northern-ireland."""
    on = _day(request, "on")
    if scheme not in SCHEMES or on is None:
        raise _unclear(f"Name a scheme ({', '.join(SCHEMES)}) and the day `on` (yyyy-MM-dd).")
    found = None if NUL in value else await as_of.state(conn, scheme, value, on)
    if found is None:
        raise _nobody()
    return _json(found)


@get("/api/providers/{scheme:str}/{value:str}/names")
async def names(conn: NamedDependency[Any], scheme: FromPath[str], value: FromPath[str]) -> Response[bytes]:
    """Every name an organisation has had, with its days."""
    found = await as_of.names(conn, scheme, value) if scheme in SCHEMES and NUL not in value else []
    if not found:
        raise _nobody()
    return _json({"names": found})


@get("/api/providers/own")
async def show_own(keeper: NamedDependency[Keeper], conn: NamedDependency[Any]) -> Response[bytes]:
    """What the signed-in person's provider keeps itself, and every earlier state of it."""
    party = _party(keeper)
    return _json(
        {"kept": await own.kept(conn, party), "history": await own.history(conn, party)}, private=True
    )


@put("/api/providers/own", request_max_body_size=MAX_BODY)
async def keep_own(
    request: Request[Any, Any, Any], keeper: NamedDependency[Keeper], conn: NamedDependency[Any]
) -> Response[bytes]:
    """Keep contacts, courses and pages of results."""
    try:
        asked = msgspec.json.decode(await request.body(), type=KeepAsked)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(
            "CR-083",
            f"The body is not what is asked for: {error}",
            status=422,
            remedy="See docs/registers.md.",
        ) from error
    return _json(
        await own.keep(conn, keeper.principal, _party(keeper), asked.own, asked.revision), private=True
    )


SCHEMES = ("urn", "ukprn", "la", "group", "wales", "scotland", "northern-ireland")


def _party(keeper: Keeper) -> str:
    principal = keeper.principal
    if principal.kind != "person" or not principal.party:
        status = 401 if principal.kind == "public" else 403
        raise Problem("CR-006", "Contacts and courses are kept by the provider itself.", status=status)
    return str(principal.party)


def _numbers(text: str) -> tuple[str, ...] | None:
    """UKPRNs with commas between them; None when none is named."""
    found = tuple(
        dict.fromkeys(part.strip() for part in text[: MOST_NUMBERS * 12].split(",") if part.strip())
    )
    if len(found) > MOST_NUMBERS:
        raise _unclear(f"At most {MOST_NUMBERS:,} UKPRNs can be asked for at once.")
    if not all(is_valid("UKPRN", one) for one in found):
        raise _unclear("A UKPRN has eight digits, the first of them 1; put commas between several.")
    return found or None


def _day(request: Request[Any, Any, Any], name: str) -> date | None:
    text = request.query_params.get(name, "")
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise _unclear(f"`{name}` is not a day. Write it as yyyy-MM-dd.") from error


def _whole(name: str, text: str) -> int | None:
    """A whole number of the query, None where it is left out."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        listed = " Loads are listed by /api/providers/loads." if name != "limit" else ""
        raise _unclear(f"`{name}` is not a whole number.{listed}") from error


def _most(limit: str, usual: int, most: int) -> int:
    asked = _whole("limit", limit)
    return max(1, min(usual if asked is None else asked, most))


def _plain(text: str) -> str:
    if NUL in text:
        raise _unclear("Leave out the character with the number 0.")
    return text


def _unclear(remedy: str) -> Problem:
    return Problem("CR-085", "The question cannot be understood.", status=400, remedy=remedy)


def _nobody() -> Problem:
    return Problem(
        "CR-005",
        "The register has no such provider.",
        status=404,
        remedy="Look for it with /api/providers/search.",
    )


def _json(value: Any, *, private: bool = False) -> Response[bytes]:
    headers = {"Cache-Control": "no-store", "Vary": "Cookie"} if private else OPEN_DATA
    return Response(msgspec.json.encode(value, enc_hook=str), media_type="application/json", headers=headers)


HANDLERS = [
    list_records, session, search, differences, list_loads, show_own, keep_own, one_record, state, names,
]  # fmt: skip
