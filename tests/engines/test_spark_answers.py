"""What of a cluster's answer is taken: all of it or nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from commonroom.engines.spark import whole
from commonroom.problems import Problem

ANSWER = pa.table({"school": ["990001", "990002", "990003"], "n": [1, 2, 3], "rows_of_the_answer": [3, 3, 3]})


def test_an_answer_is_taken_whole() -> None:
    assert whole(ANSWER) == [
        {"school": "990001", "n": 1},
        {"school": "990002", "n": 2},
        {"school": "990003", "n": 3},
    ]
    assert whole(ANSWER.slice(0, 0)) == []


@pytest.mark.parametrize("came", [ANSWER.slice(0, 2), ANSWER.slice(1)])
def test_an_answer_that_lost_rows_on_its_way_is_no_smaller_figure(came: pa.Table) -> None:
    with pytest.raises(Problem, match="CR-280"):
        whole(came)
