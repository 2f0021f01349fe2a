"""Forms that prove they are ours, onward addresses that stay here, headers on every answer."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from commonroom.portal import security
from commonroom.portal.pages.people import local
from commonroom.problems import Problem
from commonroom.settings import Settings

KEY = b"k" * 32


def test_a_form_of_this_browser_passes() -> None:
    security.check_form(KEY, "browser", security.form_token(KEY, "browser"), "same-origin")


@pytest.mark.parametrize(
    ("browser", "token", "site", "code"),
    [
        ("browser", security.form_token(KEY, "another"), "same-origin", "CR-100"),
        ("browser", security.form_token(b"x" * 32, "browser"), "same-origin", "CR-100"),
        ("browser", "", "same-origin", "CR-100"),
        ("browser", "ünicode", "same-origin", "CR-100"),
        ("", security.form_token(KEY, ""), "same-origin", "CR-100"),
        ("browser", security.form_token(KEY, "browser"), "cross-site", "CR-101"),
        ("browser", security.form_token(KEY, "browser"), "same-site", "CR-101"),
    ],
)
def test_any_other_form_is_refused(browser: str, token: str, site: str, code: str) -> None:
    with pytest.raises(Problem) as refused:
        security.check_form(KEY, browser, token, site)
    assert refused.value.code == code
    assert refused.value.status == 403


def test_the_key_of_forms_is_made_once_and_belongs_to_its_owner(tmp_path: Path) -> None:
    first = security.form_key(tmp_path)
    assert security.form_key(tmp_path) == first
    assert len(first) == security.KEY_BYTES
    assert stat.S_IMODE((tmp_path / "portal-forms.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("address", ["/my/school", "/find?q=a&page=2"])
def test_an_address_of_ours_is_gone_on_to(address: str) -> None:
    assert local(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://elsewhere.example",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "my",
        "/a\nb",
        "/" + "a" * 300,
    ],
)
def test_no_one_is_sent_elsewhere(address: str) -> None:
    assert local(address) == "/my"


def test_cookies_and_transport_are_strict_where_people_come_by_https(tmp_path: Path) -> None:
    plain = Settings(data=tmp_path)
    strict = Settings(data=tmp_path, portal_address="https://portal.example")
    assert "Strict-Transport-Security" not in security.headers(plain)
    assert "Strict-Transport-Security" in security.headers(strict)
    assert not security.is_https(plain)
    assert security.is_https(strict)
