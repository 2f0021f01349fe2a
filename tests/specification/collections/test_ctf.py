"""The Common Transfer File: the constructed sample both ways, names, partial files, hostile ones, the command."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from commonroom import standard
from commonroom.collections import loader, transfer_file
from commonroom.collections.record_forms import School
from commonroom.collections.record_map import record_map
from commonroom.collections.transfer_file import Outgoing
from commonroom.problems import Problem

NAME = "8234321_CTF_9385200_001.xml"
SENDER = School("100001", "8234321", "Example School")
RECEIVER = School("100002", "9385200", "Example Academy")
AT = datetime.fromisoformat("2026-01-12T09:30:00")
HOMES = Path(__file__).parents[1] / "standard" / "homes.csv"


@pytest.fixture(scope="module")
def sample(shared: Path) -> Path:
    path = shared / "standards" / "files" / "constructed_samples" / NAME
    if not path.exists():
        pytest.skip("no shared data folder")
    return path


@pytest.fixture(scope="module")
def told(sample: Path) -> transfer_file.TransferRead:
    return transfer_file.read(sample, [SENDER, RECEIVER])


def outgoing(**changes: Any) -> Outgoing:
    plain: dict[str, Any] = {
        "source": "8234321",
        "destination": "9385200",
        "serial": "001",
        "at": AT,
        "schools": [SENDER, RECEIVER],
        "supplier": "OpenExchange",
    }
    return Outgoing(**{**plain, **changes})


def lines(path: Path) -> list[str]:
    """The file in canonical form without the space between elements, one element a line."""
    tree = etree.parse(str(path), etree.XMLParser(remove_blank_text=True))
    return etree.tostring(tree, method="c14n").replace(b"><", b">\n<").decode().splitlines()


def test_the_sample_has_no_findings_and_everything_in_it_is_told(told: transfer_file.TransferRead) -> None:
    assert told.report.findings == []
    assert set(told.report.outcomes.values()) == {"passed"}
    assert told.refused == []
    assert dict(told.left_out) == {}
    assert {entity: len(records) for entity, records in told.records.items()} == {
        "learner": 1, "pupil_characteristics": 1, "learner_name": 1, "learner_language": 1, "fsm_period": 1,
        "sen_provision_period": 1, "sen_need": 1, "address": 1, "telephone": 1, "contact": 1,
        "attendance_summary": 1, "attendance_mark": 14, "assessment_result": 18, "enrolment": 1, "transfer": 1,
    }  # fmt: skip


def test_the_sample_is_told_in_the_words_of_the_standard(told: transfer_file.TransferRead) -> None:
    (learner,) = told.records["learner"]
    assert (learner["school"], learner["language"], learner["ethnicity"]) == ("100001", "ENG", "WBRI")
    (enrolment,) = told.records["enrolment"]
    assert (enrolment["entry_date"], enrolment["nc_year"], enrolment["leaving_reason"]) == (
        "2022-09-05",
        "4",
        "IM",
    )
    (transfer,) = told.records["transfer"]
    assert (transfer["destination"], transfer["sent_date"], transfer["content"]) == (
        "100002",
        "2026-01-12",
        "FULL",
    )
    marks = [(mark["date"], mark["session"], mark["code"]) for mark in told.records["attendance_mark"]]
    # The sixth day of marks that begin on a Monday is the next Monday.
    assert marks[10:] == [
        ("2025-09-08", "AM", "I"), ("2025-09-08", "PM", "I"), ("2025-09-09", "AM", "/"), ("2025-09-09", "PM", "\\"),
    ]  # fmt: skip


def test_read_and_written_the_sample_is_the_same_but_for_an_empty_element(
    sample: Path, told: transfer_file.TransferRead, tmp_path: Path
) -> None:
    done = transfer_file.write(told.records, outgoing(), tmp_path)
    assert done.path == tmp_path / NAME
    # The header says it.
    assert dict(done.left_out) == {"transfer": 1}
    before, after = lines(sample), lines(done.path)
    # What is blank is left out: an element without text says no more than none.
    blank = ["<DataDescriptor>", "</DataDescriptor>"]
    assert [line for line in before if line not in after] == blank
    assert after == [line for line in before if line not in blank]


def test_the_file_says_where_each_item_stands_as_the_standard_does() -> None:
    collection = loader.load("ctf", 2025)
    said: dict[str, str] = {}
    for module in collection.modules.values():
        above = [module, *collection.ancestors(module.name)]
        path = "/".join(one.path for one in reversed(above)).removeprefix("CTFpupilData/")
        for item in module.items:
            said[path if path.endswith(f"/{item.element}") else f"{path}/{item.element}"] = item.item or ""
    with HOMES.open(encoding="utf-8") as file:
        homes = {row["place"]: row["home"] for row in csv.DictReader(file) if row["collection"] == "CTF 25"}
    assert len(homes) > 50
    # The longer list of ethnic codes has a place of its own; the main code is told of the learner too.
    homes["Pupil/BasicDetails/Ethnicity"] = "pupil_characteristics.ethnicity_detail"
    assert {place: said.get(place) for place in homes} == homes


@pytest.mark.parametrize(
    ("name", "told_of"),
    [
        (NAME, []),
        ("8234321_CTF_9385200_999.XML", []),
        ("8234321_CTF_9385200_000.xml", ["form"]),
        ("8234321_CTF_9385200.xml", ["form"]),
        ("export.xml", ["form"]),
        ("8234322_CTF_9385200_001.xml", ["SourceEstab 4322"]),
        ("8234321_CTF_XXXXXXX_001.xml", ["DestLEA XXX", "DestEstab XXXX"]),
    ],
)
def test_the_name_agrees_with_the_header(sample: Path, tmp_path: Path, name: str, told_of: list[str]) -> None:
    path = tmp_path / name
    shutil.copy(sample, path)
    report = transfer_file.read(path, [SENDER], "100001").report
    named = [finding for finding in report.findings if finding.rule == "file-name"]
    assert len(named) == len(told_of)
    assert all(words in finding.message for words, finding in zip(told_of, named, strict=True))
    assert report.outcomes["file-name"] == ("failed" if told_of else "passed")


PARTS = {"FSP": 17, "PHO": 1, "KS1": 1, "FSM": 0, "ULN": 0}


@pytest.mark.parametrize("part", PARTS)
def test_a_partial_file_holds_its_part_and_who_it_is_of(
    told: transfer_file.TransferRead, tmp_path: Path, part: str
) -> None:
    wanted = outgoing(part=part, destination="823LLLL")
    done = transfer_file.write(told.records, wanted, tmp_path)
    assert done.path == tmp_path / f"8234321_{part}_823LLLL_001.xml"
    assert done.report.findings == []
    again = transfer_file.read(done.path, [SENDER])
    held = {"learner"} | {
        one for one in record_map(loader.load("ctf", 2025)).parts[part].entities if one != "learner"
    }
    assert set(again.records) == held
    assert len(again.records.get("assessment_result", ())) == PARTS[part]
    assert set(again.records["learner"][0]) == {
        "school", "upn", "uln", "given_name", "family_name", "date_of_birth", "sex", "valid_from",
    }  # fmt: skip


def test_a_part_that_nobody_has_is_not_written(told: transfer_file.TransferRead, tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        transfer_file.write(told.records, outgoing(part="KS2"), tmp_path)
    assert caught.value.code == "CR-187"
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_written_over_nor_left_where_it_has_errors(
    told: transfer_file.TransferRead, tmp_path: Path
) -> None:
    transfer_file.write(told.records, outgoing(), tmp_path)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(Problem) as caught:
        transfer_file.write(told.records, outgoing(), tmp_path)
    assert caught.value.code == "CR-187"
    assert (tmp_path / NAME).read_bytes() == before
    (summary,) = told.records["attendance_summary"]
    wrong = {**told.records, "attendance_summary": [{**summary, "sessions_attended": 1}]}
    done = transfer_file.write(wrong, outgoing(serial="002"), tmp_path)
    assert done.path is None
    assert [finding.rule for finding in done.report.findings] == ["CTF100"]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("source", "destination", "serial", "code"),
    [
        ("823432", "9385200", "001", "CR-186"),
        ("8234321", "938XXXX", "001", "CR-186"),
        ("MMMMMMM", "9385200", "001", "CR-186"),
        ("../4321", "9385200", "001", "CR-186"),
        ("8234321", "9385200", "000", "CR-187"),
        ("8234321", "9385200", "1", "CR-187"),
    ],
)
def test_numbers_without_a_known_form_are_refused(
    told: transfer_file.TransferRead, tmp_path: Path, source: str, destination: str, serial: str, code: str
) -> None:
    wanted = outgoing(source=source, destination=destination, serial=serial)
    with pytest.raises(Problem) as caught:
        transfer_file.write(told.records, wanted, tmp_path)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("destination", ["XXXXXXX", "MMMMMMM", "938LLLL"])
def test_receivers_that_are_no_school(
    told: transfer_file.TransferRead, tmp_path: Path, destination: str
) -> None:
    done = transfer_file.write(told.records, outgoing(destination=destination), tmp_path)
    assert done.report.findings == []
    assert done.path is not None
    (transfer,) = transfer_file.read(done.path, [SENDER]).records["transfer"]
    assert "destination" not in transfer
    assert transfer["outside_the_system"] is (destination == "MMMMMMM")


def test_a_sender_whose_urn_is_not_known_must_be_said(sample: Path) -> None:
    with pytest.raises(Problem) as caught:
        transfer_file.read(sample)
    assert caught.value.code == "CR-186"
    assert transfer_file.read(sample, school="100001").records["learner"][0]["school"] == "100001"


def test_an_older_form_and_what_the_standard_has_no_place_for_are_told(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / NAME
    text = sample.read_text("utf-8")
    text = text.replace("<Sex>F</Sex>", "<Gender>F</Gender>").replace(">25.0<", ">23.0<")
    text = text.replace("<PostCode>ZZ1 1ZZ</PostCode>", "<PostCode>ZZ1 1ZZ</PostCode><Zip>1010</Zip>", 1)
    path.write_text(text, "utf-8")
    done = transfer_file.read(path, [SENDER])
    assert sorted(finding.rule for finding in done.report.findings) == ["CTF010", "CTF050", "unknown-element"]
    assert dict(done.left_out) == {"Address.Zip": 1}
    assert [(one.entity, one.item, one.rule) for one in done.refused] == [
        ("learner", "sex", "standard-required")
    ]
    assert "learner" not in done.records


def bomb(text: str) -> bytes:
    entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {after} "{f"&{before};" * 10}">'
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    return f"<!DOCTYPE x [{entities}]>{text.split('?>', 1)[1].replace('Amara', '&i;')}".encode()


def external(text: str) -> bytes:
    doctype = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    return f"{doctype}{text.split('?>', 1)[1].replace('Amara', '&e;')}".encode()


HOSTILE: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "not XML": ("CR-190", lambda _: b"UPN,Surname\n1,2\n"),
    "empty": ("CR-190", lambda _: b""),
    "cut off": ("CR-190", lambda text: text[: len(text) // 2].encode()),
    "another encoding": ("CR-190", lambda text: text.replace("Amara", "Amár").encode("latin-1")),
    "a bomb of entities": ("CR-191", bomb),
    "an external entity": ("CR-191", external),
    "an endless value": ("CR-192", lambda text: text.replace("Amara", "A" * 11_000_000, 1).encode()),
    "another form": ("CR-193", lambda text: text.replace("CTfile", "Message").encode()),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_file_ends_in_a_problem_that_does_not_quote_it(
    sample: Path, tmp_path: Path, fault: str
) -> None:
    code, spoilt = HOSTILE[fault]
    path = tmp_path / NAME
    path.write_bytes(spoilt(sample.read_text("utf-8")))
    with pytest.raises(Problem) as caught:
        transfer_file.read(path, [SENDER])
    assert caught.value.code == code
    assert "Amara" not in str(caught.value)


def test_the_register_is_ours_or_the_published_extract(tmp_path: Path) -> None:
    ours, published = tmp_path / "ours.csv", tmp_path / "published.csv"
    ours.write_text("urn,laestab,name\n100001,8234321,Example School\n,8234322,No URN\n", "utf-8")
    published.write_bytes(
        'URN,LA (code),EstablishmentNumber,EstablishmentName\n100001,823,4321,"Example École"\n9,823,,x\n'.encode(
            "cp1252"
        )
    )
    assert transfer_file.schools_of(ours) == [SENDER]
    assert transfer_file.schools_of(published) == [School("100001", "8234321", "Example École")]
    neither = tmp_path / "neither.csv"
    neither.write_text("a,b\n1,2\n", "utf-8")
    for path in (neither, tmp_path / "none.csv"):
        with pytest.raises(Problem) as caught:
            transfer_file.schools_of(path)
        assert caught.value.code == "CR-186"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commonroom", "ctf", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_reads_and_writes(sample: Path, tmp_path: Path) -> None:
    records, register = tmp_path / "records.json", tmp_path / "register.csv"
    register.write_text("urn,laestab,name\n100001,8234321,Example School\n", "utf-8")
    done = run("read", sample, "--out", records, "--register", register)
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(records.read_text("utf-8"))
    assert content["standard"] == standard.load().version
    assert records.stat().st_mode & 0o077 == 0
    assert "C823432117001" not in done.stdout
    common = ("--from", "8234321", "--to", "9385200", "--register", register, "--out", tmp_path / "out")
    done = run("write", records, *common, "--serial", "007", "--at", "2026-01-12T09:30:00")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["8234321_CTF_9385200_007.xml"]
    assert run("write", records, *common, "--serial", "007").returncode == 2
    assert run("read", tmp_path / "none.xml", "--out", records).returncode == 2
