"""A measure asked of some schools after others gives what it gives of all at once, whatever memory there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonroom.engines.duck import Duck
from commonroom.warehouse import analytics
from tests.engines.analytics_world import HALF_KNOWN, World, folder_in, sorted_rows


def test_every_measure_is_the_same_in_parts_as_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(folder_in(tmp_path), seed=11)
    duck = Duck(world.settings, [world.settings.folder("warehouse")])
    engine, parted = analytics.InProcess(duck), set()
    for measure in world.measures.values():
        sources, beside = world.asked(measure, HALF_KNOWN)
        with monkeypatch.context() as little:
            little.setattr(analytics, "_HELD_A_BYTE", 10**9)
            if len(engine._parts(measure, sources, beside)) < 3:
                continue
            in_parts = sorted_rows(engine.rows(measure, sources, beside))
        assert in_parts == sorted_rows(engine.rows(measure, sources, beside)), measure.name
        parted.add(measure.name)
    assert {"absence_overall", "persistent_absence"} <= parted
    assert "headcount" not in parted, "a state is not a sum of facts"
    duck.close()
