"""Starting Chromium so that it makes no request of its own, and the pages there are to visit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, NARROW = 1280, 320
HEIGHT = {DESKTOP: 900, NARROW: 640}


class Place(NamedTuple):
    """A page to visit: a short name, its address, the sample user who may see it ('' for anyone), its HTTP status."""

    name: str
    path: str
    user: str = ""
    status: int = 200


def public_places(urn: str, la: str, text: str) -> list[Place]:
    """Every page anyone may see, for one school, authority and search."""
    return [
        Place("home", "/"),
        Place("find", "/find"),
        Place("find-results", f"/find?q={text}"),
        Place("find-nothing", "/find?q=zzzzzz"),
        Place("school", f"/schools/{urn}"),
        Place("school-day", f"/schools/{urn}?grain=day&measure=persistent_absence"),
        Place("school-term", f"/schools/{urn}?grain=term"),
        Place("school-by-sex", f"/schools/{urn}?by=sex"),
        Place("lineage", f"/figures/absence_overall/school/{urn}?grain=week"),
        Place("authorities", "/authorities"),
        Place("authority", f"/authorities/{la}"),
        Place("england", "/england"),
        Place("measures", "/measures"),
        Place("standard", "/standard"),
        Place("entity", "/standard/learner"),
        Place("codeset", "/standard/attendance"),
        Place("movements", "/movements"),
        Place("extracts", "/extracts"),
        Place("movement", "/movements/school-record"),
        Place("accessibility", "/accessibility"),
        Place("sign-in", "/sign-in"),
        Place("demo", "/demo"),
        Place("not-found", "/no-such-page", status=404),
        Place("bad-address", "/england?grain=century", status=400),
        Place("no-school", "/schools/999999", status=404),
        Place("not-signed-in", "/my/school", status=401),
    ]


def signed_in_places(school: str, authority: str, operator: str, clerk: str) -> list[Place]:
    """Every page of the sample users, given their user names."""
    return [
        Place("my-school", "/my/school", school),
        Place("not-allowed", "/operator", school, 403),
        Place("my-provider", "/my/provider", school),
        Place("my-school-numbers", "/my/school/numbers", school),
        Place("cases", "/learners/review", clerk),
        Place("sign-out", "/sign-out", school),
        Place("my-authority", "/my/authority", authority),
        Place("my-measures", "/my/measures?start=late_marks", authority),
        Place("operator", "/operator", operator),
    ]


def chromium() -> Path | None:
    """Where Chromium is, None when there is none."""
    for name in (os.environ.get("COMMONROOM_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name) if name else None
        if found:
            return Path(found)
    return None


@contextmanager
def open_browser(executable: Path) -> Iterator[Browser]:
    """A headless Chromium, closed at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(executable), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Page, base: str, username: str, password: str) -> None:
    """Fill in the form as a person does."""
    page.goto(f"{base}/sign-in")
    page.fill("#username", username)
    page.fill("#password", password)
    page.click("main form button[type=submit]")
    page.wait_for_url(lambda url: "/sign-in" not in url)


def sample_people(page: Page, base: str) -> dict[str, str]:
    """Passwords by user name, read from the demonstration's own page."""
    answer = page.request.get(f"{base}/demo.json")
    return {row["username"]: row["password"] for row in answer.json()["tables"]["people"]}
