"""Large bodies over HTTP: uploads that can go on after a cut, and downloads by range."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from litestar import Response, delete, get, head, post, put
from litestar.exceptions import InternalServerException
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from commonroom.exchange import UploadRequest, UploadState, digest_text
from commonroom.hub import bodies, openapi
from commonroom.hub.body_store import blocks
from commonroom.hub.callers import Call, caller_of, json_answer, office_of
from commonroom.hub.uploads import Upload
from commonroom.problems import Problem

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_OFFSET = re.compile(r"\d{1,18}")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@post("/uploads", status_code=201, security=openapi.SIGNED_IN)
async def begin_upload(request: Call, data: JSONBody[UploadRequest]) -> Response[bytes]:
    """Announce a large body by size and digest. The same announcement again gives the same upload."""
    caller, office = caller_of(request), office_of(request)
    upload = await office.uploads.begin(caller.party or "", bodies.digest_of(data.digest), data.size)
    return _state(request, upload, 201)


@put("/uploads/{upload:str}", status_code=200, request_max_body_size=None, security=openapi.SIGNED_IN)
async def continue_upload(request: Call, upload: FromPath[str]) -> Response[bytes]:
    """Append bytes at the hub's offset (`Content-Range: bytes 0-99/100` or `Upload-Offset: 0`)."""
    caller, office = caller_of(request), office_of(request)
    found = await office.uploads.receive(
        upload, caller.party or "", _first(request), _chunks(request), request.content_length
    )
    return _state(request, found, 200)


@get("/uploads/{upload:str}", security=openapi.SIGNED_IN)
async def get_upload(request: Call, upload: FromPath[str]) -> Response[bytes]:
    """How far an upload is: go on from `offset`."""
    caller, office = caller_of(request), office_of(request)
    return _state(request, await office.uploads.find(upload, caller.party or ""), 200)


@head("/uploads/{upload:str}", security=openapi.SIGNED_IN)
async def head_upload(request: Call, upload: FromPath[str]) -> Response[None]:
    """The same in the header `Upload-Offset`."""
    caller, office = caller_of(request), office_of(request)
    found = await office.uploads.find(upload, caller.party or "")
    return Response(None, headers=_headers(office.uploads.offset(found), found))


@delete("/uploads/{upload:str}", status_code=204, security=openapi.SIGNED_IN)
async def cancel_upload(request: Call, upload: FromPath[str]) -> None:
    """Forget an upload. Messages posted with it keep their body."""
    caller, office = caller_of(request), office_of(request)
    await office.uploads.cancel(upload, caller.party or "")


@get("/messages/{message:str}/body", media_type="application/octet-stream", security=openapi.SIGNED_IN)
async def get_body(request: Call, message: FromPath[str]) -> Response[Any]:
    """The body of a message, whole or one range of it, for its sender and for whoever holds its lease."""
    caller, office = caller_of(request), office_of(request)
    async with office.pool.acquire() as connection:
        found = await bodies.find(connection, office.master_keys, message, caller.party or "", caller.id)
    if found is None:
        raise Problem(
            "CR-005",
            "There is no such body for you.",
            status=404,
            where="message",
            remedy="Pull the letter first: only its sender and who holds its lease can fetch the body.",
        )
    first, length, partial = _wanted(request, found)
    headers = {
        "content-length": str(length),
        "accept-ranges": "bytes",
        "etag": f'"{found.digest.hex()}"',
        "repr-digest": digest_text(found.digest),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    if partial:
        headers["content-range"] = f"bytes {first}-{first + length - 1}/{found.size}"
    status = 206 if partial else 200
    media_type = found.media_type or "application/octet-stream"
    if found.stored is None:
        body = (found.body or b"")[first : first + length]
        return Response(body, status_code=status, media_type=media_type, headers=headers)
    try:
        file = await asyncio.to_thread(found.stored.open, office.bodies, office.master_keys)
    except FileNotFoundError as error:
        raise RuntimeError("a stored body's file is missing") from error
    return Stream(blocks(file, first, length), status_code=status, media_type=media_type, headers=headers)


HANDLERS = (begin_upload, continue_upload, get_upload, head_upload, cancel_upload, get_body)


def _state(request: Call, upload: Upload, status: int) -> Response[bytes]:
    offset = office_of(request).uploads.offset(upload)
    state = UploadState(
        id=str(upload.id),
        size=upload.size,
        digest=digest_text(upload.digest),
        offset=offset,
        complete=upload.stored_at is not None,
        expires_at=upload.expires_at,
    )
    return json_answer(state, status, _headers(offset, upload))


def _headers(offset: int, upload: Upload) -> dict[str, str]:
    return {
        "location": f"/uploads/{upload.id}",
        "upload-offset": str(offset),
        "upload-length": str(upload.size),
        "cache-control": "no-store",
    }


def _first(request: Call) -> int | None:
    """Where the sender goes on; None when it does not say."""
    if (given := request.headers.get("content-range")) is not None:
        if match := _CONTENT_RANGE.fullmatch(given.strip()):
            return int(match[1])
        raise _unclear("Content-Range", "Write `Content-Range: bytes <first>-<last>/<size>`.")
    if (given := request.headers.get("upload-offset")) is not None:
        if _OFFSET.fullmatch(given.strip()):
            return int(given)
        raise _unclear("Upload-Offset", "Write the number of bytes that the hub has.")
    return None


async def _chunks(request: Call) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except InternalServerException as error:  # the framework's word for a caller that hung up
        raise Problem(
            "CR-050",
            "The body ended early; what came is kept.",
            where="the body",
            remedy="Ask for the offset and go on from there.",
        ) from error


def _wanted(request: Call, found: bodies.FoundBody) -> tuple[int, int, bool]:
    """First byte, how many, and whether it is a part. Several ranges, or one of another version, mean the whole."""
    if found.body is None and found.stored is None:
        raise Problem(
            "CR-005",
            "The body is no longer kept: the time its movement agreed is over.",
            status=410,
            where="message",
            remedy="Ask the sender to send it again.",
        )
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    only_if = request.headers.get("if-range")
    if (
        match is None
        or match[0] == "bytes=-"
        or (only_if is not None and only_if != f'"{found.digest.hex()}"')
    ):
        return 0, found.size, False
    if match[1]:
        first, last = int(match[1]), int(match[2]) if match[2] else found.size - 1
    else:
        first, last = max(found.size - int(match[2]), 0), found.size - 1
    last = min(last, found.size - 1)
    if first > last:
        raise Problem(
            "CR-050",
            f"The body has {found.size:,} bytes; the range is outside of it.",
            status=416,
            where="Range",
            remedy="Ask for `bytes=<first>-` with a first byte that is there.",
            extra={"size": found.size},
        )
    return first, last - first + 1, True


def _unclear(where: str, remedy: str) -> Problem:
    return Problem("CR-050", "Where the bytes belong cannot be understood.", where=where, remedy=remedy)
