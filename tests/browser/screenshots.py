"""Photograph every page of a running demonstration: `python tests/browser/screenshots.py BASE_URL OUT_DIR`.

Both widths, signed out and as the first sample user of each role. Prints each page that scrolls sideways or logs an error.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.browser.browser import (
    DESKTOP,
    HEIGHT,
    NARROW,
    Place,
    chromium,
    open_browser,
    public_places,
    sample_people,
    sign_in,
    signed_in_places,
)


def main(base: str, out: Path) -> int:
    """Take all pictures; the exit status is 1 when a page has a fault."""
    executable = chromium()
    if executable is None:
        print("There is no Chromium on this machine: set COMMONROOM_CHROMIUM.", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    with open_browser(executable) as browser:
        faults = [
            fault for width in (DESKTOP, NARROW) for fault in _photograph_all(browser, base, out, width)
        ]
    print("\n".join(faults) or "no fault seen")
    return 1 if faults else 0


def _photograph_all(browser: Browser, base: str, out: Path, width: int) -> list[str]:
    context = browser.new_context(viewport={"width": width, "height": HEIGHT[width]})
    page = context.new_page()
    faults: list[str] = []
    page.on(
        "console",
        lambda message: faults.append(f"{page.url}: {message.text}") if message.type == "error" else None,
    )
    people = sample_people(page, base)
    by_role = _first_of_each_role(page, base, people)
    context.clear_cookies()
    school, authority, text = _examples(page, base)
    for place in [*public_places(school, authority, text), *signed_in_places(*by_role)]:
        if place.user:
            context.clear_cookies()
            sign_in(page, base, place.user, people[place.user])
        faults += _photograph(page, base, out, width, place)
    context.close()
    # A page that is meant to be an error logs its status in the console.
    return [fault for fault in faults if "Failed to load resource" not in fault]


def _photograph(page: Page, base: str, out: Path, width: int, place: Place) -> list[str]:
    page.goto(base + place.path)
    page.screenshot(path=str(out / f"{place.name}-{width}.png"), full_page=True)
    inside = page.evaluate("document.documentElement.scrollWidth")
    return [f"{place.path} at {width} px is {inside} px wide"] if inside > width else []


def _first_of_each_role(page: Page, base: str, people: dict[str, str]) -> tuple[str, str, str, str]:
    """User names whose own page is the school's, the authority's, the operator's and the clerk's."""
    wanted = {"/my/school": "", "/my/authority": "", "/operator": "", "/learners/review": ""}
    for username, password in people.items():
        page.context.clear_cookies()
        sign_in(page, base, username, password)
        for path, found in wanted.items():
            if page.url.startswith(base + path) and not found:
                wanted[path] = username
    missing = [path for path, found in wanted.items() if not found]
    if missing:
        raise SystemExit(f"no sample user sees {', '.join(missing)}")
    return wanted["/my/school"], wanted["/my/authority"], wanted["/operator"], wanted["/learners/review"]


def _examples(page: Page, base: str) -> tuple[str, str, str]:
    """An authority and a school of it that send data, and a word of the school's name."""
    rows = page.request.get(f"{base}/authorities.json").json()["tables"]["authorities"]
    code = next((row["code"] for row in rows if row["pupils"] is not None), rows[0]["code"])
    schools = page.request.get(f"{base}/authorities/{code}.json").json()["tables"]["schools"]
    school = next((row for row in schools if row["pupils"] is not None), schools[0])
    return school["urn"], code, str(school["name"]).split()[0]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    raise SystemExit(main(sys.argv[1].rstrip("/"), Path(sys.argv[2])))
