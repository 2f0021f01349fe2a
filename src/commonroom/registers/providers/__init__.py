"""The register of providers: schools, authorities, trusts and groups, with history, from GIAS extracts."""

from commonroom.registers.providers.announce import Announced, publish_changes, run
from commonroom.registers.providers.load import LoadReport, issues_of, load_file, newest_load
from commonroom.registers.providers.lookup import (
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
    schools_of_authority,
    versions,
)
from commonroom.registers.providers.parse import Issue
from commonroom.registers.providers.publish import (
    DEPARTMENT,
    LEARNERS,
    REGISTERS,
    WAREHOUSE,
    Published,
    ensure_platform,
    publish_to_directory,
)
from commonroom.registers.providers.search import SchoolSummary, count, find

__all__ = [
    "DEPARTMENT",
    "LEARNERS",
    "REGISTERS",
    "WAREHOUSE",
    "Announced",
    "Authority",
    "Change",
    "Group",
    "Issue",
    "Link",
    "LoadReport",
    "Published",
    "Region",
    "School",
    "SchoolSummary",
    "Version",
    "authorities",
    "authority",
    "count",
    "ensure_platform",
    "find",
    "issues_of",
    "load_file",
    "newest_load",
    "publish_changes",
    "publish_to_directory",
    "regions",
    "run",
    "school",
    "schools_of_authority",
    "versions",
]
