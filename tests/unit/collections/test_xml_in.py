"""Files as they come and as they should never come: each ends in tables, in a finding with a path, or in a clear problem."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from commonroom.collections.engine import Engine
from commonroom.collections.findings import Report
from commonroom.collections.records import read_back
from commonroom.collections.session import Session
from commonroom.collections.tables import Limits, Tables
from commonroom.collections.xml_in import read_stream
from commonroom.problems import Problem
from tests.unit.collections.conftest import Clubs

HEADER = (
    "<Header><CollectionDetails><Collection>CLUB</Collection><Year>2026</Year></CollectionDetails></Header>"
)
SECRET = "Zebedee"


def message(pupils: str, header: str = HEADER) -> str:
    return f"<Message>{header}<Pupils>{pupils}</Pupils></Message>"


def read(clubs: Clubs, content: bytes | str, limits: Limits | None = None) -> Report:
    """What is found in a file."""
    path = clubs.folder.parent / "file.xml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with Session(Engine(clubs.load()), limits) as session:
        session.load(path)
        return session.check()


def refused(clubs: Clubs, content: bytes | str, limits: Limits | None = None) -> Problem:
    """The problem that a file ends in; it never quotes what is in the file."""
    with pytest.raises(Problem) as caught:
        read(clubs, content, limits)
    assert SECRET not in str(caught.value)
    assert "file.xml" in caught.value.where
    return caught.value


def test_every_module_and_item_is_read(clubs: Clubs) -> None:
    content = message(
        "<Pupil><Number> A1\n</Number><Home><Town>Ely</Town></Home>"
        "<Clubs><Club><Kind>ART</Kind><Visits><Visit>2025-09-11</Visit><Visit>2025-09-18</Visit></Visits></Club>"
        "<Club/></Clubs></Pupil><Pupil><Number><![CDATA[B&2]]></Number><Born></Born></Pupil>"
    )
    tables = Tables(clubs.load())
    assert read_stream(io.BytesIO(content.encode()), tables) == []
    assert read_back(tables) == {
        "Header": [{"Collection": "CLUB", "Year": "2026"}],
        "Pupil": [
            {
                "Number": "A1",
                "Home": [{"Town": "Ely"}],
                "Club": [{"Kind": "ART", "Visit": [{"Visit": "2025-09-11"}, {"Visit": "2025-09-18"}]}, {}],
            },
            {"Number": "B&2"},
        ],
    }
    assert tables.paths("Visit", [2]) == {2: "Pupil[1]/Club[1]/Visit[2]"}
    tables.close()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_are_those_the_file_says(clubs: Clubs, encoding: str) -> None:
    declared = "" if encoding.startswith("utf-8") else f'<?xml version="1.0" encoding="{encoding}"?>'
    content = declared + message("<Pupil><Home><Town>Siân</Town></Home></Pupil>")
    tables = Tables(clubs.load())
    read_stream(io.BytesIO(content.encode(encoding)), tables)
    assert read_back(tables)["Pupil"][0]["Home"][0]["Town"] == "Siân"
    tables.close()


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "CR-190", "empty"),
        (b"Number,Born\nA1,2015-01-01\n", "CR-190", "not well-formed"),
        (b"PK\x03\x04 a zip file", "CR-190", "not"),
        (b"\x00\x01\x02\x03", "CR-190", "not"),
        (b"<?xml version='1.0'?>", "CR-190", ""),
        (f"<Message><Pupils><Pupil><Number>{SECRET}</Pupil></Pupils></Message>".encode(), "CR-190", "well-formed"),
        (f"<Message><Pupils><Pupil><Number>{SECRET}".encode(), "CR-190", "ends before"),
        (message(f"<Pupil><Number>{SECRET}</Number></Pupil>")[:-3].encode(), "CR-190", "ends before"),
        ("<Message><A>Si\xe2n</A></Message>".encode("iso-8859-1"), "CR-190", "encoding"),
        (b"<?xml version='1.0' encoding='klingon'?><Message/>", "CR-190", "encoding"),
        (b"<Message>&nobody;</Message>", "CR-191", "entity"),
        (b"<!DOCTYPE Message><Message/>", "CR-191", "document type"),
        (b"<!DOCTYPE Message SYSTEM 'http://127.0.0.1/x.dtd'><Message/>", "CR-191", "document type"),
        (b"<!DOCTYPE m [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><Message>&x;</Message>", "CR-191", "document type"),
        (b"<CTfile><Header/></CTfile>", "CR-193", "CTfile"),
        (b"<message/>", "CR-193", "message"),
        (message("", HEADER.replace("CLUB", "CIN")).encode(), "CR-193", "CIN"),
        (f"<Message>{'<a>' * 300}{'</a>' * 300}</Message>".encode(), "CR-192", "depth"),
    ],
)  # fmt: skip
def test_what_is_no_return_of_this_collection_is_refused(
    clubs: Clubs, content: bytes, code: str, words: str
) -> None:
    problem = refused(clubs, content)
    assert problem.code == code
    assert words in problem.detail


def test_a_billion_laughs_are_refused_before_the_first(clubs: Clubs) -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    content = f'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY l0 "lol">{levels}]><Message>&l9;</Message>'
    assert refused(clubs, content).code == "CR-191"
    # A prolog so long that it never comes to an element.
    entities = '<!ENTITY a "b">' * 10_000
    assert refused(clubs, f"<!DOCTYPE m [{entities}]><Message/>").code == "CR-191"


@pytest.mark.parametrize("start", ["<!-- {} --><Message/>", '<Message long="{}"/>'])
def test_a_beginning_without_end_is_refused_for_what_it_is(clubs: Clubs, start: str) -> None:
    problem = refused(clubs, start.format("x" * 90_000).encode())
    assert problem.code == "CR-192"
    assert "DOCTYPE" not in problem.detail


def test_a_file_that_cannot_be_opened_is_a_problem(clubs: Clubs, tmp_path: Path) -> None:
    with Session(Engine(clubs.load())) as session, pytest.raises(Problem) as caught:
        session.load(tmp_path / "nothing.xml")
    assert caught.value.code == "CR-190"


class TestFindings:
    """What can be read but is not right: findings with a path, and the rest of the return is judged."""

    def _one(self, report: Report, rule: str) -> tuple[str, str, str | None]:
        (finding,) = [one for one in report.findings if one.rule == rule]
        return finding.message, finding.locations[0].path, finding.locations[0].value

    def test_another_year(self, clubs: Clubs) -> None:
        report = read(clubs, message("<Pupil/>", HEADER.replace("2026", "2025")))
        assert self._one(report, "header")[1:] == ("Header[1]", "2025")
        assert report.records == 1

    def test_no_header(self, clubs: Clubs) -> None:
        assert self._one(read(clubs, message("<Pupil/>", "")), "header")[0] == "The return has no header."

    def test_unknown_elements_are_told_of_once_each_with_their_places(self, clubs: Clubs) -> None:
        pupil = "<Pupil><Number>A1</Number><Nickname>x</Nickname><Home><Lift/></Home></Pupil>"
        report = read(clubs, message(pupil * 30) + "<!-- a comment is nothing -->")
        found = {one.message: one for one in report.findings if one.rule == "unknown-element"}
        assert set(found) == {
            "There is no element Nickname in Pupil, 30 times.",
            "There is no element Lift in Home, 30 times.",
        }
        nickname = found["There is no element Nickname in Pupil, 30 times."]
        assert [place.path for place in nickname.locations[:2]] == ["Pupil[1]", "Pupil[2]"]
        assert len(nickname.locations) == 20

    @pytest.mark.parametrize(
        ("content", "words", "path"),
        [
            (message("<Pupil><Number><b>A1</b></Number></Pupil>"), "no element b in Pupil", "Pupil[1]"),
            (message("<Pupil>stray<Number>A1</Number></Pupil>"), "Text stands outside", "Pupil[1]"),
            (message("<Pupil><Number>A1</Number>stray</Pupil>"), "Text stands outside", "Pupil[1]"),
            (message("<Pupil><Clubs>stray<Club/></Clubs></Pupil>"), "Text stands outside", "Pupil[1]"),
            (message("<Pupil/>stray<Pupil/>"), "Text stands outside", ""),
            (message('<Pupil id="7"/>'), "no attribute id in Pupil", "Pupil[1]"),
            (message("<Staff><Pupil/></Staff>"), "no element Staff", ""),
            (message("<Pupil/>") .replace("</Message>", "<Extra/></Message>"), "no element Extra", ""),
            (message("<Pupil/><Odd/><Pupil/>"), "no element Odd", ""),
            ("<Message xmlns:x='urn:x'><x:Pupils/>" + message("")[9:], "{urn:x}Pupils", ""),
        ],
    )  # fmt: skip
    def test_what_stands_where_nothing_is_expected(
        self, clubs: Clubs, content: str, words: str, path: str
    ) -> None:
        text, where, _ = self._one(read(clubs, content), "unknown-element")
        assert words in text
        assert where == path

    def test_the_schema_location_that_programs_write_is_no_fault(self, clubs: Clubs) -> None:
        space = "http://www.w3.org/2001/XMLSchema-instance"
        content = message("").replace("<Message>", f'<Message xmlns:xsi="{space}" xsi:schemaLocation="a b">')
        assert read(clubs, content).findings == []

    def test_an_item_or_module_that_stands_twice(self, clubs: Clubs) -> None:
        report = read(clubs, message("<Pupil><Number>A1</Number><Number>A2</Number><Home/><Home/></Pupil>"))
        repeated = [
            (one.locations[0].path, one.locations[0].value)
            for one in report.findings
            if one.rule == "repeated"
        ]
        assert repeated == [("Pupil[1]", "A2"), ("Pupil[1]/Home[2]", None)]

    def test_values_of_the_wrong_kind(self, clubs: Clubs) -> None:
        pupils = (
            "<Pupil><Number>1A</Number><Born>2015-02-30</Born><Fees>-1</Fees><Coach>maybe</Coach>"
            "<Clubs><Club><Kind>XXX</Kind><Start>1/9/2025</Start><Places>3.5</Places></Club></Clubs></Pupil>"
            "<Pupil><Number>A1234567</Number><Born>2015-02-28</Born><Fees>100.01</Fees></Pupil>"
        )
        found = [
            (one.rule, one.locations[0].path, one.locations[0].item)
            for one in read(clubs, message(pupils)).findings
        ]
        assert sorted(found) == [
            ("code", "Pupil[1]/Club[1]", "Kind"),
            ("length", "Pupil[2]", "Number"),
            ("pattern", "Pupil[1]", "Number"),
            ("range", "Pupil[1]", "Fees"),
            ("range", "Pupil[2]", "Fees"),
            ("type", "Pupil[1]", "Born"),
            ("type", "Pupil[1]", "Coach"),
            ("type", "Pupil[1]/Club[1]", "Places"),
            ("type", "Pupil[1]/Club[1]", "Start"),
        ]

    def test_required_items_and_modules(self, clubs: Clubs) -> None:
        text = (clubs.own / "collection.yaml").read_text()
        text = text.replace("{name: Town}", "{name: Town, required: true}")
        text = text.replace("  - name: Home\n", "  - name: Home\n    required: true\n")
        clubs.cover(text)
        report = read(clubs, message("<Pupil><Home/></Pupil><Pupil/>"))
        found = [(one.message, one.locations[0].path) for one in report.findings]
        assert found == [("Town is missing.", "Pupil[1]/Home[1]"), ("Pupil has no Home.", "Pupil[2]")]

    def test_a_long_value_is_shown_in_part(self, clubs: Clubs) -> None:
        (finding,) = read(clubs, message(f"<Pupil><Number>A{'1' * 5000}</Number></Pupil>")).findings
        assert finding.rule == "length"
        assert len(finding.locations[0].value or "") < 400


class TestLimits:
    """A hostile file costs neither memory nor time beyond its bytes."""

    SMALL = Limits(record_bytes=300_000, memory_mb=256, threads=1)

    def test_one_record_without_end(self, clubs: Clubs) -> None:
        content = message(f"<Pupil>{'<Clubs><Club/></Clubs>' * 100_000}</Pupil>")
        assert refused(clubs, content, self.SMALL).code == "CR-192"

    def test_what_belongs_to_no_record_without_end(self, clubs: Clubs) -> None:
        content = message(f"<Staff>{'<Pupil/>' * 200_000}</Staff>")
        assert refused(clubs, content, self.SMALL).code == "CR-192"

    def test_a_file_larger_than_may_be(self, clubs: Clubs) -> None:
        assert refused(clubs, message("<Pupil/>" * 100), Limits(file_bytes=500)).code == "CR-192"

    def test_many_different_unknown_elements_are_few_findings(self, clubs: Clubs) -> None:
        strange = "".join(f"<x{number}/>" for number in range(5_000))
        report = read(clubs, message(f"<Pupil>{strange}</Pupil>"))
        assert len(report.findings) == 201
        assert report.findings[-1].message == "There are more unknown elements, 4,800 times."

    def test_a_return_beyond_the_memory_given_is_a_problem(self, clubs: Clubs) -> None:
        pupils = "".join(f"<Pupil><Number>{'A' * 900}{n}</Number></Pupil>" for n in range(60_000))
        assert refused(clubs, message(pupils), Limits(memory_mb=20, threads=1)).code == "CR-192"

    def test_two_gigabytes_of_attribute_are_not_taken_in(self, clubs: Clubs) -> None:
        script = f"""
            import resource
            resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
            from pathlib import Path
            from commonroom.collections import loader
            from commonroom.collections.tables import Limits, Tables
            from commonroom.collections.xml_in import read_stream
            from commonroom.problems import Problem
            from tests.unit.collections.test_xml_in import Endless
            collection = loader.load("clubs", 2026, [Path({str(clubs.folder)!r})])
            tables = Tables(collection, Limits(memory_mb=256, threads=1))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            top = b"<Message><Pupils><Pupil"
            for start in (b"<Message a='", top + b" a='", top + b"><Number>", b"<", b"<!--", top + b"><![CDATA["):
                file = Endless(start, 2 * 2**30)
                try:
                    read_stream(file, tables)
                except Problem as problem:
                    assert problem.code in ("CR-190", "CR-191", "CR-192"), problem
                else:
                    raise AssertionError(start)
                assert file.given < 64 * 2**20, (start, file.given)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 200 * 1024, grown
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr


class Endless(io.RawIOBase):
    """A file that begins in some way and then goes on with one letter; nothing of it is in memory."""

    def __init__(self, start: bytes, size: int) -> None:
        self._start, self._size = start, size
        self.given = 0

    def seek(self, place: int, whence: int = 0) -> int:
        self.given = place
        return place

    def read(self, count: int = -1) -> bytes:
        left = self._size - self.given
        count = min(count if count >= 0 else 1024, left)
        begin = self._start[self.given : self.given + count]
        self.given += count
        return begin + b"x" * (count - len(begin))


def test_memory_does_not_grow_with_the_file(clubs: Clubs) -> None:
    """A stream of 120 MB, most of it unknown elements, is read in the memory of some records."""
    pupil = b"<Pupil><Number>A1</Number>" + b"<Nickname>abcdefgh</Nickname>" * 20 + b"</Pupil>"

    class Stream(io.RawIOBase):
        """Written while it is read."""

        def __init__(self) -> None:
            self.seek(0)

        def seek(self, place: int, whence: int = 0) -> int:
            self._parts = self._all()
            self._left = b""
            return 0

        def _all(self) -> Iterator[bytes]:
            yield f"<Message>{HEADER}<Pupils>".encode()
            for _ in range(200):
                yield pupil * 1_000
            yield b"</Pupils></Message>"

        def read(self, count: int = -1) -> bytes:
            while len(self._left) < count:
                part = next(self._parts, b"")
                if not part:
                    break
                self._left += part
            given, self._left = self._left[:count], self._left[count:]
            return given

    tables = Tables(clubs.load(), Limits(memory_mb=256, threads=1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stream: IO[bytes] = Stream()  # type: ignore[assignment]
    (unknown,) = read_stream(stream, tables)
    assert unknown.message == "There is no element Nickname in Pupil, 4,000,000 times."
    assert tables.count("Pupil") == 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024
    tables.close()
