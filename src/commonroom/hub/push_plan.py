"""The plan of pushing: when to try again, when to give up, what an answer means. Pure functions; times are real.

Source: Standard Webhooks 1.0.0, "Retries" (the delays) and CloudEvents webhooks 1.0 (what the answers mean).
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from commonroom.hub.targets import Answer

MINUTE, HOUR = 60.0, 3600.0
# Before each try, counted from the failure before it.
DELAYS = (
    0.0,
    5.0,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
JITTER = 0.1  # a delay is up to so much longer
# From the first try on, also when an open breaker or a busy target kept the later ones from happening.
GIVE_UP_SECONDS = sum(DELAYS) * (1 + JITTER) + HOUR

BREAKER_FAILURES = 5  # in a row, then the breaker is open
BREAKER_SECONDS = 30.0  # the first time; twice as long with each probe that fails
BREAKER_MAX_SECONDS = HOUR

MAX_RETRY_AFTER = 24 * HOUR
BUSY = (429, 503)


class Verdict(msgspec.Struct, frozen=True):
    """What came of one push."""

    kind: Literal["taken", "gone", "busy", "failed"]
    reason: str = ""
    wait: float = 0.0  # seconds, of `busy`


def delay_after(tries: int, chance: float) -> float | None:
    """Seconds from the failure of the try with this number (1 the first) to the next; None when it was the last.

    `chance` is a random number from 0 to 1.
    """
    return None if tries >= len(DELAYS) else DELAYS[tries] * (1 + JITTER * chance)


def breaker_pause(failures: int) -> float:
    """Seconds for which nothing is pushed after so many failures in a row; 0 while the breaker stays shut."""
    if failures < BREAKER_FAILURES:
        return 0.0
    doublings = min(failures - BREAKER_FAILURES, 16)
    return float(min(BREAKER_MAX_SECONDS, BREAKER_SECONDS * 2**doublings))


def judge(answer: Answer, now: datetime) -> Verdict:
    """What an answer to a push means. Only 2xx is success; a redirect is a failure like another."""
    if 200 <= answer.status < 300:
        return Verdict("taken")
    reason = f"The target answered {answer.status}."
    if answer.status == 410:
        return Verdict("gone", reason)
    if answer.status in BUSY and (wait := retry_after(answer.headers.get("retry-after", ""), now)):
        return Verdict("busy", reason, wait)
    return Verdict("failed", reason)


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds of a Retry-After header (a number, or an HTTP date), 1 to MAX_RETRY_AFTER; None when it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 1.0), MAX_RETRY_AFTER)
