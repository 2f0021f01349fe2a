"""Answers that are not the expected one: every fault becomes RFC 9457 problem JSON with a numbered code."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from commonroom.exchange.contract import PROBLEM_TYPE
from commonroom.hub import codes  # noqa: F401 - registers the hub's problem codes
from commonroom.hub.faults import DATABASE_AWAY, log_fault
from commonroom.problems import Problem

_CODES = {401: "CR-031", 403: "CR-006", 404: "CR-005", 405: "CR-005", 413: "CR-046"}
_REMEDIES = {
    404: "GET /schema lists what there is.",
    405: "GET /schema lists what there is.",
    413: "Send less at once.",
}


def answer(problem: Problem) -> Response[bytes]:
    """The problem as an HTTP answer."""
    headers = {"cache-control": "no-store"}
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    if "retry_after" in problem.extra:
        headers["retry-after"] = str(problem.extra["retry_after"])
    return Response(
        msgspec.json.encode(problem.as_json()),
        status_code=problem.status,
        media_type=PROBLEM_TYPE,
        headers=headers,
    )


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
    if isinstance(error, DATABASE_AWAY):
        remedy = "Nothing is wrong with the request; send it again in a few seconds."
        away = Problem(
            "CR-003",
            "The database is away at the moment.",
            status=503,
            remedy=remedy,
            extra={"retry_after": 2},
        )
        return on_problem(request, away)
    log_fault("request failed", error)
    remedy = "The operator finds it in the hub's log; sending the same again is safe."
    return on_problem(
        request, Problem("CR-007", "The hub could not finish the request.", status=500, remedy=remedy)
    )


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
