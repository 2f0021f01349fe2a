"""Dead ends: what is told to whoever asked, and what to the operator alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from litestar.testing import RequestFactory

from commonroom.engines import delta_log
from commonroom.engines.file_cache import FileCache
from commonroom.engines.object_folder import object_folder
from commonroom.portal import errors
from commonroom.problems import Problem

SECRET = "s3://a-bucket-of-ours/warehouse"


def faults(folder: Path) -> list[Problem]:
    """As the engines word them, with the place in each."""
    found = [delta_log.not_as_put(SECRET, "a file that the log names is not there")]
    with pytest.raises(Problem) as away, object_folder(SECRET, folder, 1, 0, "").reached():
        raise OSError("a store of ours at 10.0.0.1 refused")
    with pytest.raises(Problem) as full:
        FileCache(folder, 1).put("enrolment/a.parquet", 1, lambda file: _no_room())
    return [*found, away.value, full.value]


def _no_room() -> None:
    raise OSError(28, "no space")


def test_where_the_warehouse_lies_and_how_to_mend_it_is_told_to_nobody_outside(tmp_path: Path) -> None:
    told = faults(tmp_path)
    assert [one.code for one in told] == ["CR-310", "CR-311", "CR-312"]
    assert all(one.where for one in told)
    for one in told:
        answer = errors.of_problem(RequestFactory().get("/api/figures/headcount"), one)
        said = msgspec.json.decode(answer.content)
        assert (said["code"], said["status"], said["where"]) == (one.code, one.status, "")
        for secret in (SECRET, str(tmp_path), "AWS_", "warehouse_cache_bytes", "10.0.0.1"):
            assert secret not in answer.content.decode()


def test_what_the_asker_can_mend_is_told_whole() -> None:
    problem = Problem("CR-005", "no such school", status=404, where="unit", remedy="Look for it by name.")
    answer = errors.of_problem(RequestFactory().get("/api/figures/headcount"), problem)
    assert msgspec.json.decode(answer.content) == problem.as_json()
