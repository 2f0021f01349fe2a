"""One cell to one value: what is taken, what is listed, and that no cell of any kind can break the reading."""

from __future__ import annotations

import contextlib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom.registers.providers.values import READERS, BadValue, day, postcode, tidy

GOOD = [
    ("urn", "100000", "100000"),
    ("la_code", "936", "936"),
    ("establishment_number", "0123", "0123"),
    ("ukprn", "10080446", "10080446"),
    ("date", "31-12-2022", "2022-12-31"),
    ("date", "31/12/2022", "2022-12-31"),
    ("date", "1/9/2022", "2022-09-01"),
    ("date", "2022-12-31", "2022-12-31"),
    ("date", "29-02-2024", "2024-02-29"),
    ("count", "0", 0),
    ("count", "1689", 1689),
    ("age", "99", 99),
    ("percent", "13.7", 13.7),
    ("percent", "100", 100.0),
    ("percent", "13.7%", 13.7),
    ("grid", "533498", 533498),
    ("postcode", "gu341dh", "GU34 1DH"),
    ("postcode", "EC3A 5DE", "EC3A 5DE"),
    ("uprn", "1710026411", "1710026411"),
    ("text", "Ysgol Llanfairpwllgwyngyll", "Ysgol Llanfairpwllgwyngyll"),
]

BAD = [
    ("urn", "10000"),
    ("urn", "1000000"),
    ("urn", "EY123456"),
    ("urn", "100000.0"),
    ("urn", "١٠٠٠٠٠"),
    ("urn", "012345"),
    ("la_code", "93"),
    ("establishment_number", "200"),
    ("ukprn", "1008044"),
    ("ukprn", "00000000"),
    ("date", "31-02-2022"),
    ("date", "2022/31/12"),
    ("date", "31-12/2022"),
    ("date", "00:00.0"),
    ("date", "31-12-0022"),
    ("count", "-1"),
    ("count", "1e3"),
    ("count", "12.5"),
    ("count", "999999999"),
    ("count", "²"),
    ("age", "100"),
    ("percent", "101"),
    ("percent", "SUPP"),
    ("grid", "9999999"),
    ("postcode", "London"),
    ("uprn", "5.00E+06"),
    ("text", "a\x00b"),
    ("text", "x" * 1001),
]


@pytest.mark.parametrize(("kind", "cell", "value"), GOOD)
def test_a_good_cell_is_read_as_its_value(kind: str, cell: str, value: object) -> None:
    assert READERS[kind](cell) == value


@pytest.mark.parametrize(("kind", "cell"), BAD)
def test_a_bad_cell_is_named_with_its_reason_and_a_remedy(kind: str, cell: str) -> None:
    with pytest.raises(BadValue) as caught:
        READERS[kind](cell)
    assert caught.value.reason
    assert caught.value.remedy
    assert "\x00" not in caught.value.reason


@given(st.sampled_from(sorted(READERS)), st.text(min_size=1))
def test_any_text_in_any_column_is_read_or_refused_and_nothing_else(kind: str, cell: str) -> None:
    value = tidy(cell)
    if not value:
        return
    with contextlib.suppress(BadValue):
        found = READERS[kind](value)
        assert not isinstance(found, str) or found.isprintable()


@given(st.dates(date(1000, 1, 1), date(2200, 12, 31)), st.sampled_from("-/"))
def test_every_date_survives_both_ways_of_writing_it(moment: date, stroke: str) -> None:
    assert day(f"{moment.day:02d}{stroke}{moment.month:02d}{stroke}{moment.year:04d}") == moment.isoformat()


@given(st.from_regex(r"[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}", fullmatch=True))
def test_a_postcode_reads_the_same_however_it_is_spaced_or_cased(written: str) -> None:
    assert postcode(written) == postcode(written.lower().replace(" ", "")) == postcode(postcode(written))


@given(st.text())
def test_tidying_twice_changes_nothing_more(cell: str) -> None:
    assert tidy(tidy(cell)) == tidy(cell)
