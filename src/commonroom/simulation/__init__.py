"""An invented county: schools, pupils, school systems of three makers, days that pass, and the proof that all arrived.

Nothing outside the demo, the sandbox and the tests uses this room; it stands for the schools' own programs.
"""

from commonroom.simulation.reconcile import Difference, Reconciliation, compare, pupil_digest, reconcile
from commonroom.simulation.schools import (
    GROUP_LINKS,
    REGISTER,
    RegisterRow,
    School,
    county,
    schools_of_county,
    schools_of_register,
)
from commonroom.simulation.world import (
    WORLD_FILE,
    BuildReport,
    DayReport,
    World,
    authority_database,
    authority_store_mapping,
    build,
    last_day,
    next_school_day,
    pass_day,
    read_manifest,
    school_database,
    source_mapping,
    store_mapping,
)

__all__ = [
    "GROUP_LINKS",
    "REGISTER",
    "WORLD_FILE",
    "BuildReport",
    "DayReport",
    "Difference",
    "Reconciliation",
    "RegisterRow",
    "School",
    "World",
    "authority_database",
    "authority_store_mapping",
    "build",
    "compare",
    "county",
    "last_day",
    "next_school_day",
    "pass_day",
    "pupil_digest",
    "read_manifest",
    "reconcile",
    "school_database",
    "schools_of_county",
    "schools_of_register",
    "source_mapping",
    "store_mapping",
]
