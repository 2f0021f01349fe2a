"""Delta tables: what is announced stays readable, what is not never was, and one writer writes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from commonroom.engines import delta
from commonroom.engines.delta import Batch
from commonroom.problems import Problem

BATCH = Batch(7, "0199aaaa-0000-7000-8000-000000000000")


def rows(*values: str) -> pa.Table:
    return pa.table({"name": list(values), "number": list(range(len(values)))})


def read(folder: Path, version: int) -> list[str]:
    found = [pq.read_table(file.path).column("name").to_pylist() for file in delta.files_of(folder, version)]
    return sorted(name for names in found for name in names)


def test_each_version_keeps_the_rows_it_was_announced_with(tmp_path: Path) -> None:
    first = delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH)
    second = delta.append(tmp_path / "t", rows("b"), after=first, batch=BATCH)
    assert (read(tmp_path / "t", first), read(tmp_path / "t", second)) == (["a"], ["a", "b"])


def test_a_commit_carries_its_batch(tmp_path: Path) -> None:
    delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH)
    table = DeltaTable(str(tmp_path / "t"))
    assert table.transaction_version("commonroom.warehouse") == BATCH.number
    assert table.history(1)[0]["batch"] == BATCH.id


def test_what_was_written_but_never_announced_is_taken_back(tmp_path: Path) -> None:
    announced = delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH)
    delta.append(tmp_path / "t", rows("lost 1"), after=announced, batch=BATCH)
    version = delta.append(tmp_path / "t", rows("b"), after=announced, batch=BATCH)
    assert read(tmp_path / "t", version) == ["a", "b"]
    delta.append(tmp_path / "t", rows("lost 2"), after=version, batch=BATCH)
    assert read(tmp_path / "t", delta.append(tmp_path / "t", rows("c"), after=version, batch=BATCH)) == [
        "a",
        "b",
        "c",
    ]


def test_a_first_version_that_was_never_announced_is_taken_back_too(tmp_path: Path) -> None:
    delta.append(tmp_path / "t", rows("lost"), after=None, batch=BATCH)
    assert read(tmp_path / "t", delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH)) == ["a"]


@pytest.mark.parametrize("torn", [b"", b'{"add":{"path":"part-0', b"\x00\x00\x00\x00"])
@pytest.mark.parametrize("announced_any", [True, False])
def test_a_log_entry_torn_by_a_power_cut_after_the_announced_version_does_no_harm(
    tmp_path: Path, torn: bytes, announced_any: bool
) -> None:
    announced = delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH) if announced_any else None
    lost = delta.append(tmp_path / "t", rows("lost"), after=announced, batch=BATCH)
    (tmp_path / "t" / "_delta_log" / f"{lost:020d}.json").write_bytes(torn)
    version = delta.append(tmp_path / "t", rows("b"), after=announced, batch=BATCH)
    assert read(tmp_path / "t", version) == (["a", "b"] if announced_any else ["b"])


def test_a_table_whose_creation_was_cut_off_is_created_again(tmp_path: Path) -> None:
    delta.append(tmp_path / "t", rows("lost"), after=None, batch=BATCH)
    for entry in (tmp_path / "t" / "_delta_log").glob("*.json"):
        entry.write_bytes(b"")
    assert read(tmp_path / "t", delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH)) == ["a"]


def test_two_writers_at_one_version_the_later_one_is_told_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "t"
    announced = delta.append(folder, rows("a"), after=None, batch=BATCH)
    write = delta.write_deltalake

    def overtaken(*arguments: object, **options: object) -> None:
        write_deltalake(str(folder), rows("other"), mode="append")
        write(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(delta, "write_deltalake", overtaken)
    with pytest.raises(Problem, match="CR-060"):
        delta.append(folder, rows("mine"), after=announced, batch=BATCH)
    monkeypatch.undo()
    assert read(folder, delta.append(folder, rows("b"), after=announced, batch=BATCH)) == ["a", "b"]


def test_a_new_column_is_added_and_older_rows_have_none_of_it(tmp_path: Path) -> None:
    first = delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH)
    wider = rows("b").append_column("new", pa.array(["x"]))
    version = delta.append(tmp_path / "t", wider, after=first, batch=BATCH)
    assert read(tmp_path / "t", version) == ["a", "b"]


def test_tidying_keeps_the_rows_makes_few_files_and_leaves_older_versions_readable(tmp_path: Path) -> None:
    folder, version, names = tmp_path / "t", None, []
    for number in range(delta.COMPACT_FROM_FILES):
        names.append(f"{number:02d}")
        assert version is None or not delta.needs_tidying(folder, version)
        version = delta.append(folder, rows(names[-1]), after=version, batch=BATCH)
    assert version is not None
    assert delta.needs_tidying(folder, version)
    tidy = delta.tidy(folder, after=version, batch=BATCH)
    assert (len(delta.files_of(folder, tidy)), read(folder, tidy)) == (1, names)
    assert read(folder, version) == names
    assert not delta.needs_tidying(folder, tidy)
    assert read(folder, delta.append(folder, rows("zz"), after=tidy, batch=BATCH)) == [*names, "zz"]


def test_tidying_deletes_files_that_no_kept_version_needs(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    version = delta.append(folder, rows("a"), after=None, batch=BATCH)
    version = delta.append(folder, rows("b"), after=version, batch=BATCH)
    tidy = delta.tidy(folder, after=version, batch=BATCH, keep_hours=0)
    assert {str(path) for path in folder.glob("*.parquet")} == {
        file.path for file in delta.files_of(folder, tidy)
    }
    assert read(folder, tidy) == ["a", "b"]


def test_files_that_cannot_hold_what_is_asked_for_are_known(tmp_path: Path) -> None:
    version = delta.append(tmp_path / "t", rows("b", "d"), after=None, batch=BATCH)
    (file,) = delta.files_of(tmp_path / "t", version)
    asked = [("a", "a"), ("a", "b"), ("c", "c"), ("d", "z"), ("e", "z")]
    assert [file.may_hold("name", low, high) for low, high in asked] == [False, True, True, True, False]
    assert file.may_hold("unknown", "a", "a")


def test_a_table_whose_log_changes_the_meaning_of_its_files_is_refused(tmp_path: Path) -> None:
    table = DeltaTable.create(
        str(tmp_path / "t"), rows("a").schema, configuration={"delta.enableDeletionVectors": "true"}
    )
    with pytest.raises(Problem, match="CR-061"):
        delta.files_of(tmp_path / "t", table.version())


def test_the_rows_that_came_since_a_version_are_told_whatever_was_merged_or_taken_back_meanwhile(
    tmp_path: Path,
) -> None:
    for seed in range(4):
        chance, folder = random.Random(seed), tmp_path / str(seed)
        version = delta.append(folder, rows("first"), after=None, batch=BATCH)
        announced = [version]
        for step in range(9):
            what = chance.choice(
                ["append", "append", "append", "tidy", "unannounced append", "unannounced tidy"]
            )
            if "append" in what:
                new = delta.append(folder, rows(f"row {step}"), after=announced[-1], batch=BATCH)
            else:
                new = delta.tidy(folder, after=announced[-1], batch=BATCH)
            if "unannounced" not in what:
                announced.append(new)
        for place, after in enumerate(announced):
            for until in announced[place:]:
                came = delta.appended(folder, after, until)
                assert came is not None
                told = sorted(
                    name for file in came for name in pq.read_table(file).column("name").to_pylist()
                )
                assert sorted([*read(folder, after), *told]) == read(folder, until)


def test_what_came_cannot_be_told_once_its_file_is_gone_or_rows_were_taken_away(tmp_path: Path) -> None:
    first = delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH)
    second = delta.append(tmp_path / "t", rows("b"), after=first, batch=BATCH)
    merged = delta.tidy(tmp_path / "t", after=second, batch=BATCH, keep_hours=0)
    assert delta.appended(tmp_path / "t", first, merged) is None
    assert delta.appended(tmp_path / "t", second, merged) == []
    DeltaTable(str(tmp_path / "t")).delete("name = 'a'")
    purged = DeltaTable(str(tmp_path / "t")).version()
    assert delta.appended(tmp_path / "t", merged, purged) is None


def test_what_came_cannot_be_told_of_a_file_that_does_not_say_how_many_rows_it_has(tmp_path: Path) -> None:
    first = delta.append(tmp_path / "t", rows("a"), after=None, batch=BATCH)
    second = delta.append(tmp_path / "t", rows("b"), after=first, batch=BATCH)
    entry = tmp_path / "t" / "_delta_log" / f"{second:020d}.json"
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    for action in actions:
        action.get("add", {}).pop("stats", None)
    entry.write_text("\n".join(map(json.dumps, actions)))
    assert delta.appended(tmp_path / "t", first, second) is None


def test_little_files_are_merged_without_writing_the_large_ones_again(tmp_path: Path) -> None:
    folder, chance = tmp_path / "t", random.Random(1)
    texts = [chance.randbytes(100_000).hex() for _ in range(90)]
    version = delta.append(folder, rows(*texts), after=None, batch=BATCH)
    (large,) = delta.files_of(folder, version)
    for number in range(delta.COMPACT_FROM_FILES):
        assert not delta.needs_tidying(folder, version)
        version = delta.append(folder, rows(f"{number}"), after=version, batch=BATCH)
    assert delta.needs_tidying(folder, version)
    version = delta.tidy(folder, after=version, batch=BATCH, as_due=True)
    small = [file.rows for file in delta.files_of(folder, version) if file.path != large.path]
    assert small == [delta.COMPACT_FROM_FILES]
    assert not delta.needs_tidying(folder, version)
    version = delta.tidy(folder, after=version, batch=BATCH)
    assert len(delta.files_of(folder, version)) == 1, "all at once, when asked for"
