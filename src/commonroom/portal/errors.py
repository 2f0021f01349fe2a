"""Each dead end is a page of its own, with a way on: what happened, and what to do now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from commonroom import log
from commonroom.engines.database import DATABASE_AWAY
from commonroom.portal.house import Visit, house_of
from commonroom.portal.page import Page, form_of
from commonroom.problems import Problem, add_codes

add_codes({"CR-104": "The page is not available at the moment"})

LOG = log.get("portal")
TITLES = {
    400: "There is a problem with the address",
    401: "You need to sign in",
    403: "You do not have access to this page",
    404: "Page not found",
    405: "Page not found",
    408: "The form took too long to arrive",
    413: "The form is too large",
    429: "Too many attempts",
    503: "Sorry, Common Room is not available",
}
FAULT = "Sorry, there is a problem with Common Room"
EXPIRED = "Your form has expired"
TITLES_BY_CODE = {"CR-100": EXPIRED, "CR-101": "The form came from another site"}
PROBLEM_JSON = "application/problem+json"
# For programs throughout.
API = "/api/"
# Where and why our own machines fail is the operator's to know: addresses of stores, folders, names of settings.
OF_THE_OPERATOR = frozenset(
    {"CR-003", "CR-060", "CR-061", "CR-280", "CR-281", "CR-282", "CR-310", "CR-311", "CR-312"}
)

Handler = Callable[[Request[Any, Any, Any], Any], Response[bytes]]


def of_problem(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """A fault the user can act on; of one that only the operator can act on, the code, and the log has the rest."""
    if problem.code in OF_THE_OPERATOR:
        LOG.warning("page failed", code=problem.code, detail=problem.detail, where=problem.where)
        problem = Problem(
            problem.code,
            "What is needed for this page cannot be read at the moment.",
            status=max(problem.status, 500),
            remedy="Try again later. Whoever runs Common Room finds the cause in the log.",
        )
    return _answer(request, problem)


def of_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the web framework refuses by itself: unknown addresses, wrong methods, forms over the limit."""
    code = {404: "CR-005", 405: "CR-005", 403: "CR-006"}.get(error.status_code, "CR-007")
    status = 404 if error.status_code == 405 else error.status_code
    return _answer(request, Problem(code, "", status=status))


def of_database(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The database is away, most often because it is being restarted."""
    LOG.warning("database away", error=type(error).__name__)
    return _answer(
        request,
        Problem("CR-104", "The database is not answering.", status=503, remedy="Try again in a minute."),
    )


def of_fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A fault of ours: the log gets the trace, the page does not."""
    log.fault(LOG.bind(route=request.scope.get("path_template", "")), "page failed", error)
    return _answer(request, Problem("CR-007", "The fault has been written to the log.", status=500))


ERRORS: dict[int | type[Exception], Handler] = {
    Problem: of_problem,
    HTTPException: of_http,
    **dict.fromkeys(DATABASE_AWAY, of_database),
    Exception: of_fault,
}


def _answer(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    if form_of(request.url.path) != "html" or request.url.path.startswith(API):
        body = msgspec.json.encode(problem.as_json())
        return Response(body, media_type=PROBLEM_JSON, status_code=problem.status, headers=_when(problem))
    visit = request.scope.get("state", {}).get("visit", Visit())
    title = TITLES_BY_CODE.get(problem.code) or TITLES.get(problem.status, FAULT)
    page = Page(
        template="problem.html",
        title=title,
        status=problem.status,
        more={"problem": problem, "expired": problem.code in TITLES_BY_CODE},
        private=True,
    )
    answer = house_of(request).answer(request, visit, page)
    answer.headers.update(_when(problem))
    return answer


def _when(problem: Problem) -> dict[str, str]:
    """When to come again, where that is known."""
    seconds = problem.extra.get("retry_after")
    return {} if seconds is None else {"Retry-After": str(seconds)}
