"""What is exported for other programs and for readers."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from commonroom import standard
from commonroom.problems import Problem
from commonroom.standard import Code, exports
from commonroom.standard.commands import app
from commonroom.standard.definitions import common_data_definitions
from commonroom.standard.exports import csv_tables, html_pages
from commonroom.standard.loader import FOLDER

STANDARD = standard.load()
VOID = {"meta", "br"}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", *arguments], env={"COLUMNS": "160"})


def table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_tables.files(STANDARD)[name])))


class Page(HTMLParser):
    """The elements, links and text of a page; an element left open is a fault."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, list[tuple[str, str | None]]] = {}
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.setdefault(tag, attrs)
        self.links += [value or "" for name, value in attrs if tag == "a" and name == "href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    """Every page, read."""
    return {name: Page(text) for name, text in html_pages.files(STANDARD).items()}


@pytest.mark.parametrize(
    ("form", "files"), [("json-schema", "learner.schema.json"), ("csv", "items.csv"), ("html", "index.html")]
)
def test_each_format_is_written_into_a_new_folder(tmp_path: Path, form: str, files: str) -> None:
    out = tmp_path / "deep" / "out"
    result = run("--format", form, "--out", str(out))
    assert result.exit_code == 0
    assert (out / files).read_text("utf-8")
    assert f"{len(list(out.iterdir()))} files" in result.output


def test_an_older_version_is_exported_as_it_was(tmp_path: Path) -> None:
    assert run("--format", "json-schema", "--out", str(tmp_path), "--version", "2024.1").exit_code == 0
    schema: dict[str, Any] = json.loads((tmp_path / "child.schema.json").read_text("utf-8"))
    assert schema["$id"] == "urn:commonroom:standard:2024.1:child"
    assert schema["$defs"]["codeset_cin_sex"]["enum"] == ["0", "1", "2", "9"]
    assert not (tmp_path / "pre_proceedings.schema.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--format", "pdf"), "CR-096"), (("--format", "csv", "--version", "1999.1"), "CR-094")],
)
def test_an_export_that_cannot_be_made_is_a_problem(
    tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    problem = run(*arguments, "--out", str(tmp_path)).exception
    assert isinstance(problem, Problem)
    assert problem.code == code
    assert problem.remedy


def test_a_folder_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(Problem) as caught:
        exports.write(STANDARD, "csv", tmp_path / "file")
    assert caught.value.code == "CR-096"


def test_the_tables_hold_every_entity_item_code_and_message() -> None:
    items = table("items.csv")
    assert len(items) == sum(len(entity.items) for entity in STANDARD.entities.values())
    upn = next(row for row in items if (row["entity"], row["item"]) == ("learner", "upn"))
    assert (upn["identifier"], upn["key"], upn["personal"], upn["cbds"]) == ("UPN", "true", "true", "100001")
    assert len(table("entities.csv")) == len(STANDARD.entities)
    assert len(table("code_sets.csv")) == len(STANDARD.codesets)
    assert len(table("codes.csv")) == sum(len(codeset.codes) for codeset in STANDARD.codesets.values())
    assert {row["type"] for row in table("messages.csv")} == set(STANDARD.events)
    slash = next(row for row in table("codes.csv") if row["code_set"] == "attendance" and row["code"] == "\\")
    assert slash["attributes"] == "category=present; possible=true"


def test_there_is_a_page_for_every_entity_and_code_set_and_every_link_leads_to_one(
    pages: dict[str, Page],
) -> None:
    expected = {f"entity-{name}.html" for name in STANDARD.entities}
    expected |= {f"code-set-{name}.html" for name in STANDARD.codesets}
    assert set(pages) == {*expected, "index.html", "versions.html", "common-data-definitions.html"}
    for name, page in pages.items():
        assert set(page.links) <= set(pages), name
    assert expected <= set(pages["index.html"].links)


def test_pages_need_no_script_and_say_what_they_are(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert page.attributes["html"] == [("lang", "en")], name
        assert page.tags.count("h1") == page.tags.count("title") == page.tags.count("main") == 1, name
        assert not {"script", "link", "img", "iframe"} & set(page.tags), name
        assert page.tags.count("table") == page.tags.count("caption"), name


def test_pages_show_what_the_standard_says(pages: dict[str, Page]) -> None:
    learner = pages["entity-learner.html"].text
    assert "First name as on official papers." in learner
    assert "commonroom.transfer.sent" in learner
    assert "from 2024-08-19" in pages["code-set-attendance.html"].text
    assert "Westmarch (invented)" in pages["code-set-local_authority.html"].text
    assert "Senders must leave it out" in pages["versions.html"].text


def test_a_text_is_never_taken_for_markup() -> None:
    evil = '<script>alert("x")</script>&'
    codeset = STANDARD.codesets["sex"]
    odd = msgspec.structs.replace(
        codeset, title=evil, description=evil, codes=(Code(evil, evil, note=evil), *codeset.codes)
    )
    language = msgspec.structs.replace(STANDARD, codesets={**STANDARD.codesets, "sex": odd})
    texts = html_pages.files(language)
    assert not any("<script" in text for text in texts.values())
    assert Page(texts["code-set-sex.html"]).text.count(evil) >= 5


def test_the_common_data_definitions_hold_all_of_learning_after_14() -> None:
    published = common_data_definitions()
    named = {one.entity for one in published.entities}
    assert {name for name, entity in STANDARD.entities.items() if entity.area == "post14"} <= named
    titles = [row["definition"] for row in table("common_data_definitions.csv")]
    assert titles == sorted(titles, key=str.lower)
    assert len(titles) == sum(len(STANDARD.entities[name].items) for name in named)


# where a ULN is mandatory
ULN = {
    "learner": "mandatory from 14",
    "la_placement": "mandatory from 14",
    "provider_learner": "mandatory",
    "learner_destination": "mandatory",
    "qualification_award": "mandatory",
    "learning_aim": "through the learner",
    "learning_delivery": "through the learner",
}


def test_it_is_said_where_a_uln_is_mandatory(pages: dict[str, Page]) -> None:
    said = {one.entity: one.uln for one in common_data_definitions().entities}
    assert {name: said[name] for name in ULN} == ULN
    page = pages["common-data-definitions.html"].text
    assert "Where a ULN is mandatory" in page
    assert "9999999999" in page
    shown = CliRunner().invoke(app, ["definitions"], env={"COLUMNS": "200"})
    assert "mandatory from 14" in shown.output


@pytest.mark.parametrize(
    ("stands", "instead", "words"),
    [
        ("entity: learner\n", "entity: pupil\n", "no entity `pupil`"),
        (
            "entity: provider_learner\n    uln: mandatory",
            "entity: provider_learner\n    uln: through the learner",
            "go with",
        ),
        ("entity: learner\n    uln: mandatory from 14", "entity: learner\n    uln: mandatory", "go with"),
        ("  - entity: learning_aim\n", "  - entity: contact\n", "not published: learning_aim"),
    ],
)
def test_definitions_that_do_not_fit_are_refused(
    tmp_path: Path, stands: str, instead: str, words: str
) -> None:
    folder = tmp_path / "standard"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    path = folder / "common_data_definitions.yaml"
    text = path.read_text("utf-8")
    assert stands in text
    path.write_text(text.replace(stands, instead, 1), "utf-8")
    with pytest.raises(Problem, match=re.escape(words)) as caught:
        common_data_definitions(folder)
    assert caught.value.code == "CR-090"
