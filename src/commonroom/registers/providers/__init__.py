"""The register of providers: schools, authorities, trusts and groups, with history, from GIAS extracts."""

from commonroom.registers.providers.load import LoadReport, issues_of, load_file
from commonroom.registers.providers.parse import Issue
from commonroom.registers.providers.school import (
    Authority,
    Change,
    Group,
    Link,
    Region,
    School,
    Version,
    authorities,
    authority,
    regions,
    school,
    versions,
)
from commonroom.registers.providers.search import SchoolSummary, count, find

__all__ = [
    "Authority",
    "Change",
    "Group",
    "Issue",
    "Link",
    "LoadReport",
    "Region",
    "School",
    "SchoolSummary",
    "Version",
    "authorities",
    "authority",
    "count",
    "find",
    "issues_of",
    "load_file",
    "regions",
    "school",
    "versions",
]
