"""Errors for people: what was wrong, where, and what to do; as an exception and as RFC 9457 problem JSON."""

from __future__ import annotations

from typing import Any

# Every code a user can meet, with its title. Codes are stable: they are never reused for another meaning.
CODES: dict[str, str] = {
    "CR-001": "The declaration file cannot be read",
    "CR-002": "The setting is not valid",
    "CR-003": "The database cannot be reached",
    "CR-004": "The file cannot be read",
    "CR-005": "Not found",
    "CR-006": "Not allowed",
    "CR-007": "Something went wrong on our side",
}

# Titles of codes that one room owns are added by that room at import: `problems.add_codes({...})`.


def add_codes(codes: dict[str, str]) -> None:
    """Register a room's codes; a code that already has another title is a programming error."""
    for code, title in codes.items():
        if CODES.setdefault(code, title) != title:
            raise ValueError(f"problem code {code} already means {CODES[code]!r}")


class Problem(Exception):
    """A fault the user can understand and act on.

    `where` names the file, line, record and item as far as known; `remedy` says what to do; `extra` holds further
    members of the problem JSON. None of them may hold personal data.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int = 400,
        where: str = "",
        remedy: str = "",
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.title = CODES[code]
        self.detail = detail
        self.status = status
        self.where = where
        self.remedy = remedy
        self.extra = extra or {}
        super().__init__(str(self))

    def __str__(self) -> str:
        detail = (
            self.detail if self.detail.endswith((".", "!", "?")) or not self.remedy else f"{self.detail}."
        )
        parts = [f"{self.where}: " if self.where else "", detail, f" {self.remedy}" if self.remedy else ""]
        return f"{self.code} {''.join(parts)}"

    def as_json(self) -> dict[str, Any]:
        """RFC 9457 members, with `code`, `where` and `remedy` beside them."""
        return {
            "type": f"urn:commonroom:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "where": self.where,
            "remedy": self.remedy,
            **self.extra,
        }
