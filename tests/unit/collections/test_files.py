"""CSV in, XML out, and the way round: what is written is read again as it was."""

from __future__ import annotations

import io
from typing import Any

import pytest

from commonroom.collections.csv_in import read_csv
from commonroom.collections.model import Collection
from commonroom.collections.records import load_records, read_back
from commonroom.collections.tables import Limits, Tables
from commonroom.collections.xml_in import read_stream
from commonroom.collections.xml_out import write_records, write_tables
from commonroom.problems import Problem
from tests.unit.collections.conftest import Clubs

WHOLE = {
    "Header": [{"Collection": "CLUB", "Year": "2026"}],
    "Pupil": [
        {
            "Number": "A1",
            "Born": "2015-01-31",
            "Home": [{"Town": "Ely & <Co>"}],
            "Club": [{"Kind": "ART", "Visit": [{"Visit": "2025-09-11"}, {"Visit": "2025-09-18"}]}, {}],
        },
        {"Number": "Siân's 2"},
    ],
}


def tables(collection: Collection) -> Tables:
    return Tables(collection, Limits(memory_mb=256, threads=1))


def written(collection: Collection, content: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    write_records(collection, content, out.write)
    return out.getvalue()


def read(collection: Collection, content: bytes) -> tuple[dict[str, Any], list[str]]:
    made = tables(collection)
    found = read_stream(io.BytesIO(content), made)
    back = read_back(made)
    made.close()
    return back, [one.message for one in found]


class TestXmlOut:
    def test_what_is_written_is_read_as_it_was(self, clubs: Clubs) -> None:
        collection = clubs.load()
        assert read(collection, written(collection, WHOLE)) == (WHOLE, [])

    def test_from_tables_in_batches_it_is_the_same(self, clubs: Clubs) -> None:
        collection = clubs.load()
        content = {**WHOLE, "Pupil": WHOLE["Pupil"] * 1_500}
        made = tables(collection)
        load_records(made, content)
        out = io.BytesIO()
        write_tables(made, out.write)
        made.close()
        assert out.getvalue() == written(collection, content)

    def test_elements_stand_in_the_declared_order(self, clubs: Clubs) -> None:
        text = (clubs.own / "collection.yaml").read_text()
        text = text.replace(
            "    path: Message/Pupils/Pupil\n",
            "    path: Message/Pupils/Pupil\n    order: [Born, Club, Number]\n",
        )
        clubs.cover(text)
        lines = written(clubs.load(), WHOLE).decode().splitlines()
        starts = [f"      <{name}" for name in ("Born", "Clubs", "Number", "Home")]
        places = [next(at for at, line in enumerate(lines) if line.startswith(start)) for start in starts]
        assert places == sorted(places)

    def test_a_namespace_is_written_and_read(self, clubs: Clubs) -> None:
        (clubs.own / "map.yaml").write_text("namespace: urn:clubs\n")
        collection = clubs.load()
        content = written(collection, WHOLE)
        assert b'<Message xmlns="urn:clubs">' in content
        assert read(collection, content) == (WHOLE, [])

    def test_rows_of_one_module_at_two_places(self, clubs: Clubs) -> None:
        text = (clubs.own / "collection.yaml").read_text()
        text = text.replace(
            "    path: Message/Pupils/Pupil\n",
            "    path: Message/Pupils/Pupil\n    set: {Here: 'yes'}\n"
            "    also_at: [{path: Message/Leavers/Leaver, set: {Here: 'no'}}]\n",
        ).replace("      - {name: Number,", "      - {name: Here}\n      - {name: Number,")
        clubs.cover(text)
        collection = clubs.load()
        here = {"Here": "yes", "Number": "A1", "Club": [{"Kind": "ART"}]}
        gone = {"Here": "no", "Number": "A2", "Club": [{"Kind": "SPT", "Visit": [{"Visit": "2025-09-11"}]}]}
        content = written(collection, {"Header": [{}], "Pupil": [gone, here]})
        assert b"<Leavers>\n    <Leaver>\n      <Number>A2</Number>" in content
        assert b"Here" not in content
        assert read(collection, content) == ({"Header": [{}], "Pupil": [here, gone]}, [])

    def test_an_empty_return_is_a_file_all_the_same(self, clubs: Clubs) -> None:
        collection = clubs.load()
        assert read(collection, written(collection, {})) == ({"Header": [], "Pupil": []}, [])

    def test_a_character_that_xml_cannot_carry(self, clubs: Clubs) -> None:
        with pytest.raises(Problem, match="CR-183"):
            written(clubs.load(), {"Pupil": [{"Number": "A\x00"}]})


class TestCsvFolder:
    """One file for each module."""

    def _read(self, clubs: Clubs, files: dict[str, str | bytes]) -> tuple[dict[str, Any], list[str]]:
        folder = clubs.folder.parent / "csv"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8-sig"))
        made = tables(clubs.load())
        found = read_csv(folder, made)
        back = read_back(made)
        made.close()
        return back, [one.message for one in found]

    def test_without_a_map_the_modules_name_the_files(self, clubs: Clubs) -> None:
        files = {
            "Header.csv": "Collection,Year\nCLUB,2026\n",
            "pupil.csv": "id,Number,Born\n7,A1,2015-01-31\n8,Siân's 2,\n",
            "Home.csv": "parent,Town\n7,Ely & <Co>\n",
            "Club.csv": "id,parent,Kind\nx,7,ART\ny,7,\n",
            "Visit.csv": "parent,Visit\nx,2025-09-11\nx,2025-09-18\n",
        }
        assert self._read(clubs, files) == (WHOLE, [])

    def test_the_map_says_files_keys_headings_dates_and_constants(self, clubs: Clubs) -> None:
        (clubs.own / "map.yaml").write_text(
            "csv:\n"
            "  dates: ['%d/%m/%Y', '%Y-%b-%d %H:%M:%S']\n"
            "  decimal_integers: true\n"
            "  ignore: [NativeId, '*seq', notes]\n"
            "  constants: {Header.Collection: CLUB, Header.Year: '2026'}\n"
            "  modules:\n"
            "    Pupil:\n"
            "      - {file: onroll, key: onrollid, columns: {UPN: Number}}\n"
            "      - {file: left, key: leftid, columns: {UPN: Number}}\n"
            "    Club: {file: club, key: clubid, parent_key: leftid}\n"
        )
        files = {
            "2026_onroll.csv": "ONROLLID,upn,Born,nativeid\n1,A1,31/01/2015,n\n",
            "2026_left.csv": "leftid,UPN,Born,rowseq\n1,A2,2015-Jan-31 00:00:00,4\n",
            "club.csv": "clubid,LeftId,Kind,Places\n1,1,ART,134.0\n",
            "notes.csv": "anything\n1\n",
        }
        content, found = self._read(clubs, files)
        assert content == {
            "Header": [{"Collection": "CLUB", "Year": "2026"}],
            "Pupil": [
                {"Number": "A1", "Born": "2015-01-31"},
                {"Number": "A2", "Born": "2015-01-31", "Club": [{"Kind": "ART", "Places": "134"}]},
            ],
        }
        assert found == []

    def test_an_unknown_heading_is_one_finding(self, clubs: Clubs) -> None:
        _, found = self._read(clubs, {"Pupil.csv": "id,Number,Colour\n1,A1,red\n2,A2,blue\n"})
        assert found == ["There is no item Colour in Pupil."]

    @pytest.mark.parametrize(
        ("files", "code", "words"),
        [
            ({"Pupil.csv": ""}, "CR-190", "empty"),
            ({"Pupil.csv": "id,Number\n1,Si\xe2n\n".encode("iso-8859-1")}, "CR-190", "UTF-8"),
            ({"Pupil.csv": 'id,Number\n1,"A1\n'}, "CR-190", "not CSV"),
            ({"Pupil.csv": f"id,Number\n1,{'x' * 2_000_000}\n"}, "CR-190", "not CSV"),
            ({"Pupil.csv": "id,Number\n1\n"}, "CR-194", "1 values"),
            ({"Pupil.csv": "id,Number,Number\n1,2,3\n"}, "CR-194", "stands twice"),
            ({"Pupil.csv": "id,Number\n1,A1\n1,A2\n"}, "CR-194", "names two rows"),
            ({"Pupil.csv": "id\n1\n", "Club.csv": "parent,Kind\n9,ART\n"}, "CR-194", "names no row of Pupil"),
            ({"Pupils.csv": "id\n1\n"}, "CR-194", "no module"),
        ],
    )
    def test_files_that_do_not_fit(
        self, clubs: Clubs, files: dict[str, str | bytes], code: str, words: str
    ) -> None:
        with pytest.raises(Problem) as caught:
            self._read(clubs, files)
        assert caught.value.code == code
        assert words in caught.value.detail
        assert ".csv" in caught.value.where


class TestFlatCsv:
    """One file, a row for each record."""

    def _read(self, clubs: Clubs, text: str) -> tuple[dict[str, Any], list[str]]:
        path = clubs.folder.parent / "flat.csv"
        path.write_text(text, "utf-8-sig")
        made = tables(clubs.load())
        found = read_csv(path, made)
        back = read_back(made)
        made.close()
        return back, [one.message for one in found]

    def test_headings_name_items_modules_and_numbers_of_rows(self, clubs: Clubs) -> None:
        text = (
            "Number,Home.Town,Club.Kind,Club[2].Kind,Club[2].Start,Header.Year,Colour\n"
            "A1,Ely,ART,SPT,2025-09-10,2026,red\n"
            "A2,,,,,2026,\n"
        )
        assert self._read(clubs, text) == (
            {
                "Header": [{"Year": "2026"}],
                "Pupil": [
                    {
                        "Number": "A1",
                        "Home": [{"Town": "Ely"}],
                        "Club": [{"Kind": "ART"}, {"Kind": "SPT", "Start": "2025-09-10"}],
                    },
                    {"Number": "A2"},
                ],
            },
            ["There is no item Colour."],
        )  # fmt: skip

    def test_the_map_gives_headings_their_meaning(self, clubs: Clubs) -> None:
        (clubs.own / "map.yaml").write_text(
            "csv:\n  flat: {columns: {Pupil no: Number, First club: Club.Kind}}\n  constants: {Header.Year: '2026'}\n"
        )
        content, found = self._read(clubs, "Pupil no,First club\nA1,ART\n")
        assert content == {
            "Header": [{"Year": "2026"}],
            "Pupil": [{"Number": "A1", "Club": [{"Kind": "ART"}]}],
        }
        assert found == []
