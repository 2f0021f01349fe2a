"""Who is calling, and the office that serves: what every HTTP handler of the hub asks first."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import State

from commonroom.hub.office import Office
from commonroom.identity import Principal
from commonroom.problems import Problem

Call = Request[Any, Any, State]


def office_of(request: Call) -> Office:
    """The parts of the hub that answers."""
    office: Office = request.app.state.office
    return office


def caller_of(request: Call) -> Principal:
    """The end point that signed in. Raises Problem CR-031 (401) or CR-006 (403)."""
    return signed_in(office_of(request), request.headers.get("authorization", ""))


def signed_in(office: Office, authorization: str) -> Principal:
    """The end point with this `Authorization`. Raises Problem CR-031 (401) or CR-006 (403)."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        remedy = "Ask POST /token for a token and send it as `Authorization: Bearer <token>`."
        raise Problem("CR-031", "There is no access token.", status=401, where="Authorization", remedy=remedy)
    caller = office.tokens.authenticate(token.strip())
    if caller.kind != "end_point" or not caller.party:
        raise Problem(
            "CR-006",
            "Only end points of organisations use the hub.",
            status=403,
            remedy="Enrol an end point.",
        )
    office.presence.note(caller)
    return caller


def json_answer(value: Any, status: int, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A value as JSON that no cache keeps."""
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )
