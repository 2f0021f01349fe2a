"""Declarations: YAML files read strictly into frozen structs, with errors that name file, line and key.

Every scalar is read as a string (so `NO`, `08` and `on` keep their meaning) and typed by the struct it fills.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from commonroom.problems import Problem

T = TypeVar("T")

MAX_BYTES = 8 * 1024 * 1024
_UNKNOWN = re.compile(r"unknown field `(.+)`")
_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
# The same parser in C, where the library has it, reads fifteen times as fast.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def load(path: Path, kind: type[T]) -> T:
    """Read one declaration file into `kind`. Raises Problem CR-001 naming file, line and key."""
    return parse(_read(path), kind, path)


def parse(text: str, kind: type[T], path: Path) -> T:
    """Read the text of a declaration; `path` is the name that its faults are told under."""
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _problem(path, line, error.problem or "this is not YAML") from error
    if node is None:
        raise _problem(path, 1, "the file is empty")
    value = _plain(path, node)
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        steps = where.rstrip("`")
        # Of a key that nobody knows the place is that of what it stands in.
        if (unknown := _UNKNOWN.search(message)) is not None:
            steps = f"{steps or '$'}.{unknown[1]}"
            raise _problem(
                path, _line_of_key(node, steps), message, steps.removeprefix("$").lstrip(".")
            ) from error
        raise _problem(path, _line_of(node, steps), message, steps.removeprefix("$").lstrip(".")) from error


def line_at(path: Path, steps: tuple[str | int, ...]) -> int:
    """The line of the deepest value on the way `steps` that a file has. Reads it anew: only faults need it."""
    node = _compose(_read(path))
    line = 1
    for step in (None, *steps):
        if step is not None:
            node = _below(node, str(step), str(step)) if node is not None else None
        if node is None:
            break
        line = node.start_mark.line + 1
    return line


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError:
        # Python's own parser says more exactly where a text goes wrong.
        return yaml.compose(text, Loader=yaml.BaseLoader)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _problem(path, 1, f"the file is larger than {MAX_BYTES:,} bytes")
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        raise Problem("CR-001", "there is no such file", where=str(path), remedy="Check the path.") from error
    except UnicodeDecodeError as error:
        raise _problem(path, 1, f"byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _problem(path: Path, line: int, detail: str, key: str = "") -> Problem:
    where = f"{path}, line {line}" + (f", key {key}" if key else "")
    return Problem("CR-001", detail, where=where, extra={"file": str(path), "line": line, "key": key})


def _plain(path: Path, node: yaml.Node) -> Any:
    """Nodes to dicts, lists and strings; a key written twice is an error, never silently the last one."""
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            if key.value in found:
                raise _problem(
                    path, key.start_mark.line + 1, f"the key `{key.value}` stands twice", key.value
                )
            found[key.value] = _plain(path, value)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, item) for item in node.value]
    # An unquoted `null` or `~` is "no value"; quoted it is the word.
    if node.value in ("null", "~", "") and isinstance(node, yaml.ScalarNode) and not node.style:
        return None
    return node.value


def _line_of(node: yaml.Node, steps: str) -> int:
    """The line of the deepest node that the validation path still names."""
    current = node
    for name, index in _PATH_STEP.findall(steps):
        below = _below(current, name, index)
        if below is None:
            break
        current = below
    line: int = current.start_mark.line
    return line + 1


def _line_of_key(node: yaml.Node, steps: str) -> int:
    """The line on which the last key of the path stands, or what holds it where there is no such key."""
    holder, _, name = steps.rpartition(".")
    current = node
    for step, index in _PATH_STEP.findall(holder):
        below = _below(current, step, index)
        if below is None:
            return _line_of(node, holder)
        current = below
    keys = [key for key, _ in current.value] if isinstance(current, yaml.MappingNode) else []
    return next((key.start_mark.line + 1 for key in keys if key.value == name), _line_of(node, holder))


def _below(node: yaml.Node, name: str, index: str) -> yaml.Node | None:
    if name and isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == name), None)
    if index.isdigit() and isinstance(node, yaml.SequenceNode):
        return node.value[int(index)] if int(index) < len(node.value) else None
    # msgspec writes `[...]` for "some value of a mapping": it does not say which.
    return None
