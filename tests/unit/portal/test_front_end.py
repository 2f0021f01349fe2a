"""The style sheet that `make setup` puts in place: nothing of GOV.UK's brand, no further request."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
THEIRS = (
    "/*! Copyright (c) 2011 by Margaret Calvert & Henrik Kubel. */@font-face{font-family:GDS Transport;"
    'src:url(/assets/fonts/light.woff2) format("woff2")}.a{font-family:GDS Transport,arial,sans-serif;'
    "color:var(--govuk-link-colour,#1a65a6)}.b:focus{background:#fd0}"
    ".c:before{content:'';background-image:url(/assets/images/govuk-crest.svg)}.d{color:#fff}"
    "/*# sourceMappingURL=x.css.map */"
)


@pytest.fixture(scope="module")
def front_end() -> ModuleType:
    spec = importlib.util.spec_from_file_location("front_end", ROOT / "scripts" / "front_end.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_typeface_crest_and_colours_of_gov_uk_are_gone_and_the_rest_stays(front_end: ModuleType) -> None:
    ours = front_end.without_brand(THEIRS)
    for mark in ("GDS Transport", "font-face", "url(", "crest", "#1a65a6", "#fd0", "sourceMappingURL"):
        assert mark not in ours
    assert 'font-family:"Helvetica Neue",Helvetica,Arial,sans-serif' in ours
    assert ".d{color:#fff}" in ours


def test_a_style_sheet_that_still_names_a_file_is_refused(front_end: ModuleType) -> None:
    with pytest.raises(SystemExit):
        front_end.without_brand(".a{background:url(/elsewhere.png)}")


def test_the_lock_file_pins_by_hash_and_names_no_address() -> None:
    lock = (ROOT / "package-lock.json").read_text("utf-8")
    package = json.loads(lock)["packages"]["node_modules/govuk-frontend"]
    assert package["version"] == "6.3.0"
    assert package["integrity"].startswith("sha512-")
    assert "http" not in lock
