"""Identifiers of our own: UUID version 7 (RFC 9562) and the URNs made of them."""

from __future__ import annotations

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """A UUID that sorts by the time it was made, strictly rising within one process."""
    global _last
    with _lock:
        # 48 bits of milliseconds and 12 of sub-millisecond fraction: RFC 9562 section 6.2, method 3.
        moment = time.time_ns() * 4096 // 1_000_000
        _last = max(moment, _last + 1)
        milliseconds, fraction = _last >> 12, _last & 0xFFF
    tail = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | tail)


def org_urn(organisation: UUID) -> str:
    """The URN of a party: `urn:commonroom:org:<uuid>`."""
    return f"urn:commonroom:org:{organisation}"


def alias_urn(scheme: str, value: str) -> str:
    """An alias of a party, opaque to the hub: `urn:commonroom:alias:<scheme>:<value>`."""
    return f"urn:commonroom:alias:{scheme}:{value}"
