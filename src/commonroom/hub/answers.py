"""Answers that are not the expected one: every fault becomes RFC 9457 problem JSON with a numbered code."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from commonroom.exchange.contract import PROBLEM_TYPE
from commonroom.hub import codes  # noqa: F401 - registers the hub's problem codes
from commonroom.hub.faults import DATABASE_AWAY, log_fault
from commonroom.hub.office import Office
from commonroom.problems import Problem

_CODES = {401: "CR-031", 403: "CR-006", 404: "CR-005", 405: "CR-005", 413: "CR-046"}
_REMEDIES = {
    404: "GET /schema lists what there is.",
    405: "GET /schema lists what there is.",
    413: "Send less at once.",
}


def answer(problem: Problem) -> Response[bytes]:
    """The problem as an HTTP answer."""
    return Response(
        msgspec.json.encode(problem.as_json()),
        status_code=problem.status,
        media_type=PROBLEM_TYPE,
        headers=_headers(problem),
    )


def of_error(office: Office, error: Exception) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    """Status, headers and body of the answer to whatever went wrong where no framework helps."""
    problem = error if isinstance(error, Problem) else _fault(error)
    office.metrics.problems.labels(problem.code).inc()
    headers = {"content-type": PROBLEM_TYPE, **_headers(problem)}
    encoded = tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items())
    return problem.status, encoded, msgspec.json.encode(problem.as_json())


def on_problem(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """A refusal that some part of the hub has worded."""
    request.app.state.office.metrics.problems.labels(problem.code).inc()
    return answer(problem)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """A refusal of the web framework: no such path, a parameter or a JSON body of the wrong form."""
    status = error.status_code
    if status >= 500:
        return on_fault(request, error)
    code = _CODES.get(status, "CR-050")
    remedy = _REMEDIES.get(status, "GET /schema describes every request.")
    return on_problem(
        request, Problem(code, _detail(error), status=status, where=request.url.path, remedy=remedy)
    )


def on_fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A fault of ours: 503 when the database is away, else 500; logged without values."""
    return on_problem(request, _fault(error))


def _fault(error: Exception) -> Problem:
    if isinstance(error, DATABASE_AWAY):
        remedy = "Nothing is wrong with the request; send it again in a few seconds."
        return Problem(
            "CR-003",
            "The database is away at the moment.",
            status=503,
            remedy=remedy,
            extra={"retry_after": 2},
        )
    log_fault("request failed", error)
    remedy = "The operator finds it in the hub's log; sending the same again is safe."
    return Problem("CR-007", "The hub could not finish the request.", status=500, remedy=remedy)


def _headers(problem: Problem) -> dict[str, str]:
    headers = {"cache-control": "no-store"}
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    if "retry_after" in problem.extra:
        headers["retry-after"] = str(problem.extra["retry_after"])
    return headers


def _detail(error: HTTPException) -> str:
    """What is wrong, by name of parameter; never the value, which may be anything."""
    if isinstance(error.extra, list):
        faults = [f"{item.get('key', 'the body')}: {item.get('message', '')}" for item in error.extra]
        return "; ".join(faults)[:500] or error.detail
    return (
        error.detail
        if error.status_code in (404, 405, 413)
        else "The request is not of the form it must have."
    )
