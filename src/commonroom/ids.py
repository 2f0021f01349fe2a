"""Identifiers of our own: UUID version 7 (RFC 9562) and the URNs made of them."""

from __future__ import annotations

import os
import struct
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0
_PACK = struct.Struct(">QQ").pack


def uuid7() -> UUID:
    """A UUID that sorts by the time it was made, strictly rising within one process."""
    return UUID(bytes=uuid7_bytes(1)[0])


def uuid7_bytes(count: int) -> list[bytes]:
    """So many of them as their 16 bytes, rising: for those who make thousands at a time."""
    global _last
    with _lock:
        # 48 bits of milliseconds and 12 of sub-millisecond fraction: RFC 9562 section 6.2, method 3.
        first = max(time.time_ns() * 4096 // 1_000_000, _last + 1)
        _last = first + count - 1
    tails = struct.unpack(f">{count}Q", os.urandom(8 * count))
    return [
        _PACK((moment >> 12 & 0xFFFFFFFFFFFF) << 16 | 0x7000 | moment & 0xFFF, 1 << 63 | tail >> 2)
        for moment, tail in enumerate(tails, first)
    ]


def org_urn(organisation: UUID) -> str:
    """The URN of a party: `urn:commonroom:org:<uuid>`."""
    return f"urn:commonroom:org:{organisation}"


def alias_urn(scheme: str, value: str) -> str:
    """An alias of a party, opaque to the hub: `urn:commonroom:alias:<scheme>:<value>`."""
    return f"urn:commonroom:alias:{scheme}:{value}"
