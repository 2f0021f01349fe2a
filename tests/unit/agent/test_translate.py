"""How a database's own values are written in records: exact numbers as text, times to the minute."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from typing import Any

import pytest

from commonroom import standard
from commonroom.agent.mapping import Read
from commonroom.agent.translate import plan, translate

# entity, item, what the database gives, what the record says, whether the standard takes it
VALUES = [
    ("role", "base_pay", Decimal("38982.00"), "38982.00", True),
    ("role", "base_pay", 38982, "38982", True),
    ("role", "base_pay", 38982.5, "38982.5", True),
    ("role", "base_pay", "38982.50 ", "38982.50", True),
    ("role", "base_pay", 0.1 + 0.2, "0.30000000000000004", False),
    ("role", "base_pay", "£38,982", "£38,982", False),
    ("childcare", "opening_time", time(7, 30), "07:30", True),
    ("childcare", "opening_time", "07:30:00", "07:30", True),
    ("childcare", "opening_time", "07:30", "07:30", True),
    ("childcare", "opening_time", "07:30:15", "07:30:15", False),
    ("childcare", "opening_time", "half seven", "half seven", False),
]
KEYS: dict[str, dict[str, Any]] = {
    "role": {"employer": "990001", "staff": "7", "contract": "1", "role": "TCHR"},
    "childcare": {"school": "990001", "childcare_type": "B", "provider": "SCH"},
}


@pytest.mark.parametrize(("name", "item", "given", "written", "right"), VALUES)
def test_a_value_is_written_as_the_standard_wants_it(
    name: str, item: str, given: Any, written: str, right: bool
) -> None:
    entity = standard.load().entities[name]
    columns = [*KEYS[name], "valid_from", item]
    made = plan(Read(name, "SELECT 1", "full"), entity, columns, "vendor.yaml")
    done = translate(made, [*KEYS[name].values(), "2026-01-15", given])
    assert done.faults == ()
    assert done.record[item] == written
    assert (standard.check_records(name, [dict(done.record)]).findings == []) == right
