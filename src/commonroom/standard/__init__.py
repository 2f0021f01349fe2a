"""The common language: identifiers, code sets, entities, items and events, as data files and what reads them.

Used as `standard.load()`, `standard.check_records(...)`, `standard.upgrade_records(...)`,
`standard.identifiers.check(...)`, `standard.terms.school_days(...)`. Nothing here knows a database, a message or a
person.
"""

from commonroom.standard import identifiers, terms
from commonroom.standard.check import Checked, Finding, check_records, check_withdrawn
from commonroom.standard.holders import holder_alias
from commonroom.standard.identifiers import Verdict, is_valid
from commonroom.standard.loader import load, named
from commonroom.standard.model import Code, Codeset, Entity, Event, Item, Standard
from commonroom.standard.versions import (
    Note,
    Upgraded,
    check_dataschema,
    load_version,
    upgrade_records,
    versions,
)

__all__ = [
    "Checked",
    "Code",
    "Codeset",
    "Entity",
    "Event",
    "Finding",
    "Item",
    "Note",
    "Standard",
    "Upgraded",
    "Verdict",
    "check_dataschema",
    "check_records",
    "check_withdrawn",
    "holder_alias",
    "identifiers",
    "is_valid",
    "load",
    "load_version",
    "named",
    "terms",
    "upgrade_records",
    "versions",
]
