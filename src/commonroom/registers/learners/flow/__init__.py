"""Numbers without any action by schools.

Schools tell of their pupils in the course of their work; the same letters reach the register's own end point at the hub.
Pupils get their numbers in the school year in which they become 14, each school is told the numbers of its own pupils
through the hub, and told again when a number changes. docs/learners-flow.md says how.
"""

from commonroom.registers.learners.flow.lookup import PupilNumber, as_csv, as_json, numbers_of_school
from commonroom.registers.learners.flow.office import LEARNERS, purge, run, take_letters
from commonroom.registers.learners.flow.tellings import due_on

__all__ = [
    "LEARNERS",
    "PupilNumber",
    "as_csv",
    "as_json",
    "due_on",
    "numbers_of_school",
    "purge",
    "run",
    "take_letters",
]
