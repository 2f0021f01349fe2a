"""Record sets come back as they were sent, and no body can exhaust or confuse the reader."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from commonroom.exchange import RECORDS_TYPE, RECORDS_ZSTD_TYPE, RecordSet, decode, encode
from commonroom.problems import Problem

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
RECORDS = st.dictionaries(TEXT, SCALARS, max_size=4)
BY_ENTITY = st.dictionaries(TEXT, st.lists(RECORDS, max_size=3), max_size=3)
CHANGES = st.fixed_dictionaries({"from": RECORDS, "to": RECORDS})
RECORD_SETS = st.builds(
    RecordSet,
    standard=TEXT,
    records=BY_ENTITY,
    withdrawn=BY_ENTITY,
    rekeyed=st.dictionaries(TEXT, st.lists(CHANGES, max_size=2), max_size=2),
)
LEARNER = {"school": "990001", "upn": "A123", "given_name": "Ada", "version": 1, "valid_from": "2025-09-01"}


@given(RECORD_SETS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_record_set_comes_back_as_it_was_sent(record_set: RecordSet, compress: bool) -> None:
    media_type = RECORDS_ZSTD_TYPE if compress else RECORDS_TYPE
    assert decode(encode(record_set, compress), media_type) == record_set


@given(st.binary(max_size=200), st.sampled_from([RECORDS_TYPE, RECORDS_ZSTD_TYPE, "text/csv", "", None]))
@settings(max_examples=300)
def test_whatever_bytes_arrive_the_answer_is_a_record_set_or_a_problem(
    body: bytes, media_type: str | None
) -> None:
    with pytest.raises(Problem, match="CR-023"):
        decode(body, media_type)


def test_bulk_shrinks_under_zstd() -> None:
    record_set = RecordSet(standard="2026.1", records={"learner": [LEARNER] * 500})
    assert len(encode(record_set, compress=True)) < len(encode(record_set)) / 10


def test_parameters_and_capitals_of_the_media_type_do_not_matter() -> None:
    assert (
        decode(b'{"standard":"1"}', "Application/vnd.commonroom.records+JSON; charset=utf-8").standard == "1"
    )


def test_a_body_over_the_limit_is_refused() -> None:
    body = encode(RecordSet(standard="x" * 2000))
    assert decode(body, RECORDS_TYPE, limit=len(body)).standard == "x" * 2000
    with pytest.raises(Problem, match="CR-024"):
        decode(body, RECORDS_TYPE, limit=len(body) - 1)


def test_a_compressed_body_is_measured_after_decompression() -> None:
    body = encode(RecordSet(standard="x" * 2000), compress=True)
    size = len(encode(RecordSet(standard="x" * 2000)))
    assert decode(body, RECORDS_ZSTD_TYPE, limit=size).standard == "x" * 2000
    with pytest.raises(Problem) as caught:
        decode(body, RECORDS_ZSTD_TYPE, limit=size - 1)
    assert (caught.value.code, caught.value.status) == ("CR-024", 413)


@pytest.mark.parametrize("frames", [1, 50])
def test_a_decompression_bomb_costs_no_more_than_the_limit(frames: int) -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(b" " * (200_000_000 // frames)) * frames
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(Problem, match="CR-024"):
        decode(bomb, RECORDS_ZSTD_TYPE, limit=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_frame_that_demands_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = compressor.compress(b'{"standard":"1"}') + compressor.flush()
    with pytest.raises(Problem, match="CR-023"):
        decode(body, RECORDS_ZSTD_TYPE)


def test_a_damaged_compressed_body_is_refused() -> None:
    body = bytearray(encode(RecordSet(standard="2026.1", records={"learner": [LEARNER]}), compress=True))
    body[len(body) // 2] ^= 1
    with pytest.raises(Problem, match="CR-023"):
        decode(bytes(body), RECORDS_ZSTD_TYPE)


def test_a_cut_compressed_body_is_refused() -> None:
    body = encode(RecordSet(standard="2026.1", records={"learner": [LEARNER]}), compress=True)
    with pytest.raises(Problem, match="CR-023"):
        decode(body[: len(body) // 2], RECORDS_ZSTD_TYPE)


@pytest.mark.parametrize("start", [b"[", b'{"x":', b'{"standard":"1","records":', b'{"standard":"1","x":'])
def test_deep_nesting_is_refused(start: bytes) -> None:
    with pytest.raises(Problem, match="CR-023"):
        decode(start * 100_000, RECORDS_TYPE)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "standard"),
        ({"standard": 1}, "standard"),
        ({"standard": "1", "record": {}}, "record"),
        ({"standard": "1", "records": []}, "records"),
        ({"standard": "1", "records": {"learner": {}}}, "records"),
        ({"standard": "1", "records": {"learner": [{"a": {"b": 1}}]}}, "records"),
        ({"standard": "1", "records": {"learner": [{"a": [1]}]}}, "records"),
        ({"standard": "1", "withdrawn": {"learner": ["x"]}}, "withdrawn"),
        ({"standard": "1", "rekeyed": {"learner": [{"from": {}}]}}, "to"),
        ({"standard": "1", "rekeyed": {"learner": [{"from": {}, "to": {}, "x": 1}]}}, "x"),
    ],
)
def test_another_shape_is_refused_and_the_place_is_named(body: Any, says: str) -> None:
    with pytest.raises(Problem) as caught:
        decode(msgspec.json.encode(body), RECORDS_TYPE)
    assert caught.value.code == "CR-023"
    assert f"`{says}`" in caught.value.detail or f"$.{says}" in caught.value.detail


@pytest.mark.parametrize(
    "body",
    [
        b'{"standard":"1","records":{"learner":[{"given_name":"Ada Lovelace"',
        b'{"standard":"1","records":{"Ada Lovelace":7}}',
    ],
)
def test_a_problem_never_repeats_what_is_in_the_body(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        decode(body, RECORDS_TYPE)
    assert "Ada" not in str(caught.value)
