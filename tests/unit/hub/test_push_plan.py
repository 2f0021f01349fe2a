"""When a push is tried again, when no more, and what an answer means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from commonroom.hub.push_plan import (
    DELAYS,
    GIVE_UP_SECONDS,
    breaker_pause,
    delay_after,
    judge,
    retry_after,
)
from commonroom.hub.targets import Answer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_schedule_is_that_of_standard_webhooks_and_then_ends() -> None:
    minutes = [delay_after(tries, 0.0) for tries in range(1, 11)]
    hours = [3600.0 * number for number in (2, 5, 10, 14, 20, 24)]
    assert minutes == [5.0, 300.0, 1800.0, *hours, None]


@pytest.mark.parametrize("tries", range(1, 10))
def test_jitter_only_lengthens_a_delay_and_by_a_tenth_at_most(tries: int) -> None:
    plain, latest = DELAYS[tries], delay_after(tries, 1.0)
    assert latest is not None
    assert plain < latest <= plain * 1.1 + 1e-6
    assert sum(DELAYS) * 1.1 < GIVE_UP_SECONDS


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (4, 0), (5, 30), (6, 60), (7, 120), (11, 1920), (12, 3600), (500, 3600)]
)
def test_the_breaker_opens_after_five_failures_and_for_longer_each_time(
    failures: int, seconds: float
) -> None:
    assert breaker_pause(failures) == seconds


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (200, {}, "taken"),
        (202, {}, "taken"),
        (204, {}, "taken"),
        (301, {"location": "https://example.org/"}, "failed"),
        (400, {}, "failed"),
        (401, {}, "failed"),
        (404, {}, "failed"),
        (410, {}, "gone"),
        (429, {"retry-after": "30"}, "busy"),
        (429, {}, "failed"),
        (500, {"retry-after": "30"}, "failed"),
        (503, {"retry-after": "30"}, "busy"),
        (503, {"retry-after": "soon"}, "failed"),
    ],
)
def test_what_an_answer_means(status: int, headers: dict[str, str], kind: str) -> None:
    assert judge(Answer(status, headers), NOW).kind == kind


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 1.0),
        ("120", 120.0),
        ("999999999999", 86_400.0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 1.0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("Sun, 99 Mar 2026 12:01:30 GMT", None),
    ],
)
def test_retry_after_as_seconds_and_as_a_date(text: str, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds
