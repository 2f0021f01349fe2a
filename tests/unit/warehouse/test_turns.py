"""What a process keeps of its answers: as much as it may, and no less after it forgot everything."""

from __future__ import annotations

from commonroom.warehouse.turns import Kept


def test_the_oldest_goes_when_all_together_are_too_much() -> None:
    kept = Kept(10)
    kept.put("a", 1, 4)
    kept.put("b", 2, 4)
    assert kept.get("a") == 1
    kept.put("c", 3, 4)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]
    kept.put("c", 4, 6)
    assert [kept.get(key) for key in "ac"] == [1, 4]


def test_what_is_too_much_alone_is_not_kept_and_drives_nothing_out() -> None:
    kept = Kept(10)
    kept.put("a", 1, 4)
    kept.put("b", 2, 4)
    kept.put("b", 3, 11)
    assert [kept.get(key) for key in "ab"] == [1, None]
    kept.put("c", 4, 6)
    assert [kept.get(key) for key in "ac"] == [1, 4]


def test_who_forgot_everything_has_room_for_as_much_as_before() -> None:
    kept = Kept(3)
    for key in "abc":
        kept.put(key, key)
    kept.clear()
    for key in "abc":
        kept.put(key, key)
    assert [kept.get(key) for key in "abc"] == ["a", "b", "c"]
