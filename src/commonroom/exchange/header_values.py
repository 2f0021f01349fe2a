"""How text travels in an HTTP header, by the HTTP binding of CloudEvents (section 3.1.3.2): percent-encoded UTF-8."""

from __future__ import annotations

import re

_TO_ENCODE = re.compile(r"[^\x21\x23\x24\x26-\x7e]+")
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")
_TRIPLET = re.compile(rb"%([0-9A-Fa-f]{2})")
_BROKEN_TRIPLET = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')


def percent_encode(value: str) -> str:
    """A header value: space, `"`, `%` and all outside U+0021-U+007E become UTF-8 percent triplets."""
    return _TO_ENCODE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8")), value)


def percent_decode(value: bytes) -> str:
    """The text of a header value: quotes undone, then exactly one round of percent-decoding, then strict UTF-8.

    Raises ValueError: raw bytes outside printable ASCII, a broken `%`, or bytes that are not UTF-8.
    """
    if not _PRINTABLE.fullmatch(value):
        raise ValueError("only printable ASCII may stand in a header; percent-encode the rest")
    if value[:1] == b'"':
        value = _unquote(value)
    if b"%" not in value:
        return value.decode("ascii")
    if _BROKEN_TRIPLET.search(value):
        raise ValueError("a '%' is not followed by two hexadecimal digits")
    decoded = _TRIPLET.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), value)
    return decoded.decode("utf-8", errors="strict")


def _unquote(value: bytes) -> bytes:
    # Older CloudEvents senders quote values (RFC 9110 section 5.6.4) in place of encoding the space.
    if not _QUOTED.fullmatch(value):
        raise ValueError("a quoted value has no closing quote, or text after it")
    return re.sub(rb"\\(.)", rb"\1", value[1:-1])
