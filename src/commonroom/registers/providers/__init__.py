"""The register of providers: schools, colleges, authorities, trusts and groups, with history, from GIAS and UKRLP."""

from commonroom.registers.providers import answers, as_of, own
from commonroom.registers.providers.announce import Announced, publish_changes, run, tell_subscribers
from commonroom.registers.providers.changes import Difference, Load, ProviderChange, between, loads
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
    of_ukprn,
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
from commonroom.registers.providers.search import EVERYBODY, SCHOOLS, SchoolSummary, count, find
from commonroom.registers.providers.trusts import Trust, TrustSchool, trust

__all__ = [
    "DEPARTMENT",
    "EVERYBODY",
    "LEARNERS",
    "REGISTERS",
    "SCHOOLS",
    "WAREHOUSE",
    "Announced",
    "Authority",
    "Change",
    "Difference",
    "Group",
    "Issue",
    "Link",
    "Load",
    "LoadReport",
    "ProviderChange",
    "Published",
    "Region",
    "School",
    "SchoolSummary",
    "Trust",
    "TrustSchool",
    "Version",
    "answers",
    "as_of",
    "authorities",
    "authority",
    "between",
    "count",
    "ensure_platform",
    "find",
    "issues_of",
    "load_file",
    "loads",
    "newest_load",
    "of_ukprn",
    "own",
    "publish_changes",
    "publish_to_directory",
    "regions",
    "run",
    "school",
    "schools_of_authority",
    "tell_subscribers",
    "trust",
    "versions",
]
