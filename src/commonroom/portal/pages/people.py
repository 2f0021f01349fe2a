"""Signing in and out, and the sample sign-ins of the demonstration."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from commonroom import identity
from commonroom.portal import samples
from commonroom.portal.house import SESSION_COOKIE, VISIT_COOKIE, AnyRequest, House, Visit
from commonroom.portal.page import Page, paths
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Column, Table
from commonroom.problems import Problem

# Where a role's own pages begin. Roles without a page of their own yet go to what they come for most.
FIRST_PAGE = {
    "school": "/my/school",
    "authority": "/my/authority",
    "operator": "/operator",
    "clerk": "/learners/review",
    "governance": "/movements",
    "analyst": "/england",
    "researcher": "/my/extracts",
    "learner": "/",
}
LONGEST_NAME = 200
NO_PASSWORD = "Enter your password"  # noqa: S105 - words for people
SEE_OTHER: Literal[303] = 303


@get("/sign-in")
async def sign_in_form(
    request: AnyRequest, house: NamedDependency[House], visit: NamedDependency[Visit]
) -> Response[Any]:
    """The form; someone who is signed in is sent on."""
    onward = local(request.query_params.get("next", ""))
    if visit.signed_in:
        return Redirect(onward, status_code=SEE_OTHER)
    return house.answer(request, visit, _form(onward))


@post("/sign-in", status_code=SEE_OTHER)
async def sign_in(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[Any]:
    """Check the form and begin a session; a wrong name or password shows the form again."""
    fields = await house.check_form(request, visit)
    username, password = fields.get("username", "").strip(), fields.get("password", "")
    onward = local(fields.get("next", ""))
    errors = _missing(username, password)
    if errors:
        return house.answer(request, visit, _form(onward, username, errors))
    try:
        token = await identity.sign_in(conn, username, password)
    except Problem as problem:
        if problem.status >= 500:
            raise
        return house.answer(
            request, visit, _form(onward, username, {"username": _said(problem)}, problem.status)
        )
    return Redirect(
        onward,
        status_code=SEE_OTHER,
        cookies=[house.cookie(SESSION_COOKIE, token), house.cookie(VISIT_COOKIE, "", max_age=0)],
    )


@post("/sign-out", status_code=SEE_OTHER)
async def sign_out(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[Any]:
    """End the session here and in the database."""
    await house.check_form(request, visit)
    await identity.sign_out(conn, visit.browser)
    return Redirect("/", status_code=SEE_OTHER, cookies=[house.cookie(SESSION_COOKIE, "", max_age=0)])


@get("/sign-out")
async def sign_out_page(
    request: AnyRequest, house: NamedDependency[House], visit: NamedDependency[Visit]
) -> Response[Any]:
    """A page with the button, for those who come by address."""
    if not visit.signed_in:
        return Redirect("/", status_code=SEE_OTHER)
    return house.answer(request, visit, Page(template="sign_out.html", title="Sign out", private=True))


@get("/my")
async def my(visit: NamedDependency[Visit]) -> Response[Any]:
    """To the first page of the person's role."""
    if not visit.signed_in:
        return Redirect("/sign-in?next=/my", status_code=SEE_OTHER)
    return Redirect(FIRST_PAGE.get(visit.principal.role, "/"), status_code=SEE_OTHER)


@get(paths("/demo"))
async def demo(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """The sample people and their passwords; this page does not exist in production."""
    if house.settings.mode != "demo":
        raise Problem("CR-005", "", status=404)
    found = await samples.sample_people(conn)
    table = Table(
        name="people",
        title="Sample sign-ins",
        columns=(
            Column("username", "User name", "code"),
            Column("password", "Password", "code"),
            Column("name", "Who it is"),
            Column("sees", "What they see"),
        ),
        rows=tuple((one.username, one.password, one.name, one.sees) for one in found),
        empty="No sample people have been made in this data folder.",
    )
    page = Page(
        template="demo.html",
        title="Sample sign-ins",
        summary="This is a demonstration with invented pupils. Sign in as any of these people to see their pages.",
        tables=(table,),
        trail=(HOME,),
    )
    return house.answer(request, visit, page)


def local(address: str) -> str:
    """An address within this site to go on to, `/my` when it is anything else: no one is sent elsewhere."""
    inside = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if inside and "\\" not in address and len(address) <= LONGEST_NAME else "/my"


def _missing(username: str, password: str) -> dict[str, str]:
    errors = {}
    if not username or len(username) > LONGEST_NAME:
        errors["username"] = "Enter your user name"
    if not password:
        errors["password"] = NO_PASSWORD
    return errors


def _said(problem: Problem) -> str:
    return " ".join(part for part in (problem.detail, problem.remedy) if part)


def _form(onward: str, username: str = "", errors: dict[str, str] | None = None, status: int = 400) -> Page:
    return Page(
        template="sign_in.html",
        title="Sign in",
        trail=(HOME,),
        has_form=True,
        private=True,
        status=status if errors else 200,
        more={"onward": onward, "username": username, "error_summary": errors or {}},
    )


HANDLERS = [sign_in_form, sign_in, sign_out, sign_out_page, my, demo]
