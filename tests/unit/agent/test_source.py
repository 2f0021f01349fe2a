"""Reading the school's database: files that are replaced, faults that must not tell a pupil's data, the day in England."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy.exc import DataError, DBAPIError

from commonroom.agent.source import reason
from tests.unit.agent.school_system import SchoolSystem, told, upn


def test_a_database_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path / "live")
    school.add_pupils(1)
    looker, memory = school.looker(), school.memory()
    looker.look(memory)
    fresh = SchoolSystem(tmp_path / "copy")
    shutil.copy(school.database, fresh.database)
    fresh.add_pupils(2)
    fresh.database.replace(school.database)
    assert sorted(told(looker.look(memory))[0]) == [
        ("enrolment", upn(2), "2025-09-01", 1),
        ("learner", upn(2), "2025-09-01", 1),
    ]
    assert looker.look(memory).skipped
    school.add_pupils(3)
    assert looker.look(memory).changes == 2, "the new file is watched from now on"
    looker.close()


class DriverError(Exception):
    """The root of a driver's faults, as PEP 249 has it."""


class DriverDataError(DriverError):
    """A driver's fault of data."""


# The name that PEP 249 gives it.
DriverDataError.__name__ = "DataError"


class InvalidTextRepresentation(DriverDataError):
    """What psycopg raises for a value that is not of the type; its words repeat the value."""


SECRET = InvalidTextRepresentation('invalid input syntax for type integer: "Ada Example"')


@pytest.mark.parametrize(
    "fault",
    [
        SECRET,
        DBAPIError("SELECT", {}, SECRET),
        DataError("SELECT", {}, DriverError("Ada Example is too long")),
        ValueError("could not convert 'Ada Example'"),
    ],
    ids=["a driver's own", "wrapped", "SQLAlchemy's own", "a value that cannot be converted"],
)
def test_no_value_of_a_row_reaches_a_message(fault: Exception) -> None:
    assert "Ada" not in reason(fault)
    assert reason(fault).endswith("a value does not fit")


def test_a_fault_of_tables_and_columns_is_told_in_the_database_s_words() -> None:
    fault = DBAPIError("SELECT", {}, DriverError("no such table: pupil\nDETAIL: more"))
    assert reason(fault) == "DriverError: no such table: pupil"
