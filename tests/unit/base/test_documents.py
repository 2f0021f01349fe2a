"""What the documents say is true: every problem code is listed, every link leads somewhere, nothing names a registry."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


# In a process of its own: tests may have added codes to this one.
ALL_CODES = """
import importlib, json, pkgutil, commonroom
from commonroom.problems import CODES
for module in pkgutil.walk_packages(commonroom.__path__, "commonroom."):
    if "migrations" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(json.dumps(CODES))
"""


def test_every_problem_code_is_in_the_list_with_its_title() -> None:
    ran = subprocess.run([sys.executable, "-c", ALL_CODES], capture_output=True, text=True, check=True)
    listed = dict(
        re.findall(r"^\| (CR-\d{3}) \| (.+?) \|", (ROOT / "docs/errors.md").read_text("utf-8"), re.M)
    )
    assert listed == json.loads(ran.stdout)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert broken == []


def test_no_file_names_a_registry_or_a_download_address() -> None:
    # Written in parts, so that this file does not name them either.
    hosts = "|".join(("files.python" + "hosted", "pypi" + r"\.org", "registry." + "npmjs", "deb." + "debian"))
    found = subprocess.run(
        ["git", "grep", "-lE", hosts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == []
