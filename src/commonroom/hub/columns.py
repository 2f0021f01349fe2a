"""Columns on their way to the database, each as one text that a statement takes apart again.

The driver asks of every element of an array whether it is a container itself, and that costs more than all else it does.
Texts are joined by a character that no attribute may hold, numbers and ids by commas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SEPARATOR = "\x1f"


def texts(values: Sequence[str]) -> str:
    """These texts as one. Raises ValueError when one of them holds the separator, for then all would be moved."""
    joined = _SEPARATOR.join(values)
    if joined.count(_SEPARATOR) != len(values) - 1:
        raise ValueError("a text holds the character that separates columns")
    return joined


def json_texts(values: Iterable[bytes]) -> str:
    """`texts` of JSON, in which the separator is always written as an escape."""
    return _SEPARATOR.encode("ascii").join(values).decode("utf-8")


def numbers(values: Iterable[object]) -> str:
    """Numbers or ids as one text."""
    return ",".join(map(str, values))


def of_texts(parameter: str) -> str:
    """SQL: the array of what `texts` joined."""
    return rf"string_to_array({parameter}::text, E'\x1f')"


def of_numbers(parameter: str, kind: str) -> str:
    """SQL: the array of what `numbers` joined, as elements of this type."""
    return f"string_to_array({parameter}::text, ',')::{kind}[]"
