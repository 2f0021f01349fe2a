"""A declaration file that is wrong is refused with the file, the line and the key."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from commonroom.declarations import load
from commonroom.problems import Problem


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    size: int = 0
    on: date | None = None


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    leaves: list[Leaf] = []
    by_name: dict[str, Leaf] = {}


def _load(tmp_path: Path, text: str) -> Tree:
    path = tmp_path / "tree.yaml"
    path.write_text(text, "utf-8")
    return load(path, Tree)


def test_scalars_are_strings_until_the_struct_types_them(tmp_path: Path) -> None:
    tree = _load(
        tmp_path, "name: NO\nleaves:\n- {code: 08, size: 8, on: 2026-09-01}\n- {code: on}\n- {code: '~'}"
    )
    assert tree == Tree("NO", [Leaf("08", 8, date(2026, 9, 1)), Leaf("on"), Leaf("~")])


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("name: A\nleaves:\n- code: a\n- code: b\n  size: many", 5, "leaves[1].size", "int"),
        ("name: A\nleaves:\n- code: a\n  colour: red", 4, "leaves[0].colour", "colour"),
        ("name: A\nnome: B", 2, "nome", "nome"),
        ("leaves: []", 1, "", "name"),
        ("name: A\nname: B", 2, "name", "stands twice"),
        ("name: [A", 1, "", "expected"),
        ("name: A\nleaves:\n- code: a\n  on: 31/12/2026", 4, "leaves[0].on", "date"),
        ("", 1, "", "empty"),
    ],
)
def test_a_fault_is_named_by_file_line_and_key(
    tmp_path: Path, text: str, line: int, key: str, says: str
) -> None:
    with pytest.raises(Problem) as caught:
        _load(tmp_path, text)
    assert caught.value.code == "CR-001"
    assert caught.value.extra == {"file": str(tmp_path / "tree.yaml"), "line": line, "key": key}
    assert says in caught.value.detail


def test_other_encodings_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(Problem, match="UTF-8"):
        load(tmp_path / "latin.yaml", Tree)
    with pytest.raises(Problem, match="no such file"):
        load(tmp_path / "none.yaml", Tree)
