"""An invented nation: schools of 375 pupils, two marks a school day for each, 4% of the marks corrected next day.

Rows are made by DuckDB, a part of the schools and one day at a time, as Arrow record batches in the columns and the order
of the loader's. Who is absent is decided by a hash, so every run has the same nation.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import duckdb
import msgspec
import pyarrow as pa

from commonroom.ids import org_urn, uuid7
from commonroom.warehouse import tables

SCHOOLS, PUPILS_A_SCHOOL, AUTHORITIES, REGIONS = 24_000, 375, 150, 9
ROWS_A_CHUNK = 500_000
FIRST_URN = 100_000
_ROWS = """
WITH marks AS (
    SELECT
        pupil, CAST({first_urn} + pupil // {size} AS VARCHAR) AS school,
        'A' || lpad(CAST(pupil AS VARCHAR), 12, '0') AS upn, session, hash(pupil, session, DATE '{day}') AS chance
    FROM (VALUES ('AM'), ('PM')) AS sessions (session), range({first}, {last}) AS pupils (pupil)
),
coded AS (
    SELECT *, CASE WHEN chance % 1000 < 930 THEN CASE session WHEN 'AM' THEN '/' ELSE '\\' END
        WHEN chance % 1000 < 960 THEN 'I' WHEN chance % 1000 < 980 THEN 'N' WHEN chance % 1000 < 990 THEN 'L' ELSE 'X' END
        AS code, chance // 1000 % 100 < {corrected} AS was_wrong
    FROM marks
),
said AS (
    SELECT school, upn, session, CASE WHEN was_wrong THEN 'N' ELSE code END AS code, 1 AS weight, 1 AS version, 0 AS later,
        pupil
    FROM coded
    UNION ALL SELECT school, upn, session, 'N', -1, 2, 1, pupil FROM coded WHERE was_wrong
    UNION ALL SELECT school, upn, session, code, 1, 2, 1, pupil FROM coded WHERE was_wrong
)
SELECT
    school, upn, DATE '{day}' AS date, session, code, DATE '{day}' AS valid_from, CAST(NULL AS DATE) AS valid_to,
    CAST(weight AS TINYINT) AS weight, CAST(version AS BIGINT) AS version, CAST(school AS BIGINT) AS known_position,
    CAST(DATE '{day}' + later AS TIMESTAMP) + INTERVAL 9 HOUR AS known_from,
    md5(school || session || '{day}' || later) AS message, 'urn:commonroom:org:' || md5(school) AS sender,
    CAST(NULL AS VARCHAR) AS origin, md5(CAST(pupil AS VARCHAR)) AS learner_id
FROM said
ORDER BY school, upn, session, version, weight
"""


class Nation(msgspec.Struct, frozen=True):
    """One part of the country: every `scale`-th school."""

    scale: int
    corrected: int = 4  # of a hundred marks

    @property
    def schools(self) -> int:
        """How many."""
        return max(REGIONS, SCHOOLS // self.scale)

    @property
    def pupils(self) -> int:
        """How many."""
        return self.schools * PUPILS_A_SCHOOL

    @property
    def urns(self) -> list[str]:
        """Of every school."""
        return [str(FIRST_URN + number) for number in range(self.schools)]

    def day(self, maker: duckdb.DuckDBPyConnection, day: date) -> Iterator[pa.Table]:
        """The rows of one day, in chunks."""
        step = ROWS_A_CHUNK // (2 * PUPILS_A_SCHOOL) * PUPILS_A_SCHOOL
        schema = tables.of("attendance_mark").schema
        for first in range(0, self.pupils, step):
            sql = _ROWS.format(
                first_urn=FIRST_URN, size=PUPILS_A_SCHOOL, first=first, last=min(first + step, self.pupils),
                day=day, corrected=self.corrected,
            )  # fmt: skip
            yield maker.sql(sql).to_arrow_table().select(schema.names).cast(schema)

    def register(self) -> pa.Table:
        """What the register of providers says of every school."""
        known = tables.of("organisation")
        rows = []
        for number, urn in enumerate(self.urns):
            la = number % AUTHORITIES
            rows.append(
                {
                    "organisation": org_urn(uuid7()), "kind": "school", "name": f"School {urn}", "urn": urn,
                    "la_code": str(200 + la), "la_name": f"Authority {la}", "region_code": f"E1200000{1 + la % REGIONS}",
                    "region_name": f"Region {1 + la % REGIONS}", "valid_from": date(2020, 9, 1), "weight": 1, "version": 1,
                    "known_position": 1, "known_from": datetime(2020, 9, 1), "message": "register", "sender": "register",  # noqa: DTZ001 - UTC without a zone
                }
            )  # fmt: skip
        return pa.Table.from_pylist(rows, schema=known.schema)


def maker() -> duckdb.DuckDBPyConnection:
    """A DuckDB that makes rows and measures floors: two threads, as ours."""
    return duckdb.connect(config={"threads": "2", "memory_limit": "1GB"})


def weekdays(first: date, number: int) -> list[date]:
    """So many Mondays to Fridays from `first` on."""
    days = (first + timedelta(days=n) for n in range(2 * number + 7))
    return [day for day in days if day.weekday() < 5][:number]
