"""What every handler works with: settings, database, warehouse reader, templates; and the answer made from a page."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from jinja2 import Environment
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency

from commonroom import identity
from commonroom.engines import arrivals
from commonroom.identity import PUBLIC, Principal
from commonroom.portal import page as pages
from commonroom.portal import security
from commonroom.portal.page import Page
from commonroom.settings import Settings
from commonroom.warehouse import Reader

SESSION_COOKIE = "commonroom_session"
VISIT_COOKIE = "commonroom_visit"
JSON_TYPE = "application/json"
MULTIPART = "multipart/form-data"
CSV_TYPE = "text/csv; header=present"
# A page may be kept but is asked for anew each time: figures move with the day.
PUBLIC_CACHE = "private, no-cache"
NO_CACHE = "no-store"
# Seconds that a form may take to arrive; files have their own time.
FORM_SECONDS = 20.0

AnyRequest = Request[Any, Any, State]


class Visit(msgspec.Struct, frozen=True):
    """Who asks: the principal, and what binds their forms to this browser ('' when it has no cookie yet)."""

    principal: Principal = PUBLIC
    browser: str = ""

    @property
    def signed_in(self) -> bool:
        """Whether a person has signed in."""
        return self.principal.kind == "person"


class House:
    """One portal process's belongings. Made at start, shared by all requests."""

    def __init__(self, settings: Settings, templates: Environment, form_key: bytes) -> None:
        self.settings = settings
        self.templates = templates
        self.form_key = form_key
        self.pool: Any = None
        self.reader: Reader | None = None

    @property
    def warehouse(self) -> Reader:
        """The reader of figures, open since the start."""
        if self.reader is None:
            raise RuntimeError("the portal has not started")
        return self.reader

    def answer(self, request: AnyRequest, visit: Visit, page: Page) -> Response[bytes]:
        """The page in the form that the address asks for."""
        form = pages.form_of(request.url.path)
        cache = {
            "Cache-Control": NO_CACHE if page.private or visit.signed_in else PUBLIC_CACHE,
            "Vary": "Cookie",
        }
        if form == "json":
            body = msgspec.json.encode(pages.as_json(page))
            return Response(body, media_type=JSON_TYPE, headers=cache, status_code=page.status)
        if form == "csv":
            text = pages.csv_of(page, request.query_params.get("table", ""))
            name = pages.file_name(request.url.path, request.query_params.get("table", ""))
            shown = {"Content-Disposition": f'attachment; filename="{name}"'}
            return Response(
                text.encode(), media_type=CSV_TYPE, headers=cache | shown, status_code=page.status
            )
        return self._as_html(request, visit, page, cache)

    def _as_html(
        self, request: AnyRequest, visit: Visit, page: Page, cache: dict[str, str]
    ) -> Response[bytes]:
        cookies = []
        browser = visit.browser
        if page.has_form and not browser:
            browser = secrets.token_urlsafe(24)
            cookies = [self.cookie(VISIT_COOKIE, browser)]
        html = self.templates.get_template(page.template).render(
            page=page,
            visit=visit,
            address=Address(request.url.path, request.url.query),
            form_token=security.form_token(self.form_key, browser) if browser else "",
            demo=self.settings.mode == "demo",
            **page.more,
        )
        return Response(
            html.encode(),
            media_type="text/html",
            headers=cache,
            cookies=cookies,
            status_code=page.status,
        )

    def cookie(self, name: str, value: str, *, max_age: int | None = None) -> Cookie:
        """A cookie of ours: never readable by scripts, never sent with another site's post."""
        return Cookie(
            key=name,
            value=value,
            httponly=True,
            samesite="lax",
            secure=security.is_https(self.settings),
            max_age=max_age,
        )

    async def check_form(self, request: AnyRequest, visit: Visit) -> dict[str, str]:
        """The fields of a posted form that is proved to be ours; raises a 403 problem otherwise."""
        fields = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
        security.check_form(
            self.form_key,
            visit.browser,
            fields.get(security.FORM_FIELD, ""),
            request.headers.get("Sec-Fetch-Site", ""),
        )
        return fields


class Address(msgspec.Struct, frozen=True):
    """The address of the page being shown, from which its other forms are reached."""

    path: str
    query: str

    def other(self, suffix: str, **more: str) -> str:
        """The same page with another suffix; `more` adds to the query."""
        stem = pages.INDEX if self.path == "/" else pages.stem(self.path)
        query = "&".join(part for part in (self.query, urlencode(more)) if part)
        return f"{stem}{suffix}{'?' + query if query else ''}"

    def changed(self, **values: str) -> str:
        """The same page with some of its query's values changed; '' takes one out."""
        asked = {name: value for name, value in (dict(parse_qsl(self.query)) | values).items() if value}
        return f"{self.path}?{urlencode(asked)}" if asked else self.path


def house_of(connection: ASGIConnection[Any, Any, Any, State]) -> House:
    """The house of the app that answers this request."""
    house: House = connection.app.state.house
    return house


async def provide_house(request: AnyRequest) -> House:
    """Dependency `house`."""
    return house_of(request)


async def provide_connection(request: AnyRequest, house: NamedDependency[House]) -> AsyncIterator[Any]:
    """Dependency `conn`: one database connection for the length of the request, once all of it has arrived.

    A few who send slowly would otherwise hold all connections. What takes large files takes its connections itself.
    """
    if request.method != "GET":
        async with arrivals.within(FORM_SECONDS):
            # Kept by the request: the handler reads it once more without waiting.
            await (request.form() if request.content_type[0] == MULTIPART else request.body())
    async with house.pool.acquire() as connection:
        yield connection


async def provide_visit(request: AnyRequest, conn: NamedDependency[Any]) -> Visit:
    """Dependency `visit`: the person of the session cookie, or the public."""
    token = request.cookies.get(SESSION_COOKIE, "")
    person = await identity.person_of(conn, token) if token else None
    visit = Visit(person or PUBLIC, token if person else request.cookies.get(VISIT_COOKIE, ""))
    request.state.visit = visit
    return visit
