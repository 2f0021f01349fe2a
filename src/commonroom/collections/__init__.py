"""Returns as data: collections, their rules, the engine that judges a return, and its files. Knows no database.

The declarations (`load`, `names`, `years`, `Collection`, `Rule`) need nothing beyond the base install. What judges and reads
returns needs the extra `rules` and is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from commonroom.collections.loader import load, names, years
from commonroom.collections.model import Collection, Module, Rule

if TYPE_CHECKING:
    from commonroom.collections.engine import Engine
    from commonroom.collections.findings import Finding, Location, Rechecked, Report
    from commonroom.collections.session import Session
    from commonroom.collections.tables import Limits
    from commonroom.collections.xml_out import write_records, write_tables

_LATER = {
    "Engine": "engine",
    "Finding": "findings",
    "Limits": "tables",
    "Location": "findings",
    "Rechecked": "findings",
    "Report": "findings",
    "Session": "session",
    "write_records": "xml_out",
    "write_tables": "xml_out",
}

__all__ = [
    "Collection",
    "Engine",
    "Finding",
    "Limits",
    "Location",
    "Module",
    "Rechecked",
    "Report",
    "Rule",
    "Session",
    "load",
    "names",
    "write_records",
    "write_tables",
    "years",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"commonroom.collections.{_LATER[name]}"), name)
