"""UKRLP answers to facts: the REST service's newline-delimited JSON, and the older SOAP service's XML.

Both become one shape, the REST record. Names of persons are known and never kept: a contact is a role, numbers and
addresses of the organisation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from lxml import etree

from commonroom.problems import Problem
from commonroom.registers.providers import values
from commonroom.registers.providers.files import Opened
from commonroom.registers.providers.parse import MAX_ISSUES, Facts, Issue, Parsed, Progress, Row, date_in_name
from commonroom.registers.providers.values import BadValue, tidy

MAX_LIST = 200  # trading names or verifications of one provider
ACTIVE = "active"  # of the statuses, the one that means open
_SOAP = re.compile(
    rb"\s*(<\?xml[^>]*\?>)?\s*<([A-Za-z_][\w.-]*:)?(Envelope|ProviderQueryResponse|MatchingProviderRecords)[\s>]"
)

# Everything a UKRLP record speaks of: an item that it leaves out is taken away.
ITEMS = (
    "ukprn", "name", "status", "ukrlp_status", "verification_date", "trading_names", "verifications",
    "street", "locality", "address3", "address4", "town", "county", "postcode",
    "legal_address1", "legal_address2", "legal_address3", "legal_address4", "legal_town", "legal_county",
    "legal_postcode", "contact_role", "telephone", "telephone2", "email", "website", "contact_updated",
)  # fmt: skip
_MAIN = {
    "address1": "street", "address2": "locality", "address3": "address3", "address4": "address4", "town": "town",
    "county": "county", "postcode": "postcode",
}  # fmt: skip
_LEGAL = {part: f"legal_{part}" for part in _MAIN}
_CONTACT = {
    "contactrole": "contact_role", "contacttelephone1": "telephone", "contacttelephone2": "telephone2",
    "contactemail": "email", "url": "website", "contactwebsiteaddress": "website", "lastupdated": "contact_updated",
}  # fmt: skip
_READ_AS = {
    "postcode": values.postcode,
    "legal_postcode": values.postcode,
    "contact_updated": lambda text: values.day(text[:10]),
    "verification_date": lambda text: values.day(text[:10]),
    "ukprn": values.ukprn,
}


def is_ours(opened: Opened) -> bool:
    """Whether the file is an answer of UKRLP: JSON objects, or XML of the SOAP service."""
    start = opened.content[:4096].removeprefix(b"\xef\xbb\xbf")
    return start.lstrip().startswith((b"{", b"[")) or _SOAP.match(start) is not None


def parse(opened: Opened, progress: Progress | None = None) -> Parsed:
    """Read an answer. Raises Problem CR-081 when it is XML that cannot be read."""
    is_xml = opened.content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    records = _soap_records(opened) if is_xml else _json_records(opened)
    rows: list[Row] = []
    issues: list[Issue] = []
    lines_of: dict[str, int] = {}
    count = 0
    for line, record in records:
        count += 1
        facts = _facts(line, record, issues)
        if facts is None:
            continue
        ukprn = str(facts["ukprn"])
        if lines_of.setdefault(ukprn, line) != line:
            reason = f"line {lines_of[ukprn]} of this file has the same ukprn"
            issues.append(Issue(line, ukprn, "", "row refused", reason, "Keep one of the two records."))
            continue
        rows.append(Row(line, facts))
    if progress:
        progress(count)
    return Parsed(
        name=opened.name,
        digest=opened.digest,
        encoding=opened.encoding,
        kind="ukrlp",
        file_date=date_in_name(opened.name),
        items=tuple(sorted(ITEMS)),
        records=count,
        rows=tuple(rows),
        issues=tuple(issues[:MAX_ISSUES]),
        issue_count=len(issues),
    )


def _json_records(opened: Opened) -> Iterator[tuple[int, Any]]:
    """One object a line; or one list of them, or an object that holds such a list, in the whole file."""
    text = opened.content.decode(opened.encoding)
    if (whole := _whole(text)) is not None:
        yield from ((1, record) for record in whole)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _object(line)


def _whole(text: str) -> list[Any] | None:
    """The records of a file that is one JSON value with a list in it; None for one object a line."""
    if text.lstrip().startswith("{") and not re.match(
        r'\s*\{\s*"MatchingProviderRecords"', text, re.IGNORECASE
    ):
        return None
    found = _object(text)
    if isinstance(found, dict):
        found = next(iter(found.values()), None)
    return found if isinstance(found, list) else None


def _object(text: str) -> Any:
    """The value, or None when the text is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _soap_records(opened: Opened) -> Iterator[tuple[int, Any]]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False)
    try:
        root = etree.fromstring(opened.content, parser)
    except etree.XMLSyntaxError as error:
        raise Problem(
            "CR-081",
            "the XML of the UKRLP answer cannot be read.",
            where=f"{opened.name}, line {error.lineno or 1}",
            remedy="Send the whole answer of the service.",
        ) from error
    for element in root.iter("{*}MatchingProviderRecords"):
        yield int(element.sourceline or 1), _as_rest(element)


def _as_rest(element: Any) -> dict[str, Any]:
    """A SOAP record in the shape of the REST service."""
    record: dict[str, Any] = {
        "ukprn": element.findtext("{*}UnitedKingdomProviderReferenceNumber"),
        "providername": element.findtext("{*}ProviderName"),
        "providerstatus": element.findtext("{*}ProviderStatus"),
        "verificationdate": element.findtext("{*}ProviderVerificationDate"),
        "provideraliases": [
            {"name": alias.findtext("{*}ProviderAlias") or "".join(alias.itertext())}
            for alias in element.iterfind("{*}ProviderAliases")
        ],
        "verificationdetails": [_leaves(one) for one in element.iterfind("{*}VerificationDetails")],
    }
    for contact in element.iterfind("{*}ProviderContact"):
        address = contact.find("{*}ContactAddress")
        legal = (contact.findtext("{*}ContactType") or "").strip().upper() == "L"
        record["legaladdress" if legal else "tradingaddress"] = {} if address is None else _leaves(address)
        if not legal:
            record["primarycontact"] = _leaves(contact)
    return record


def _leaves(element: Any) -> dict[str, str]:
    """The texts of an element's children that have no children, by name without namespace."""
    return {
        etree.QName(child).localname: child.text or ""
        for child in element.iterchildren(tag=etree.Element)
        if len(child) == 0
    }


def _facts(line: int, record: Any, issues: list[Issue]) -> Facts | None:
    """What one record says; None when it has no number or no name."""
    given = _small(record)
    if given is None:
        issues.append(Issue(line, "", "", "row refused", "the line is not a JSON object", "Send it again."))
        return None
    facts: Facts = {}
    faults: list[Issue] = []
    texts: list[tuple[str, str, Any]] = [
        ("ukprn", "UKPRN", given.get("ukprn", given.get("unitedkingdomproviderreferencenumber"))),
        ("name", "ProviderName", given.get("providername")),
        ("ukrlp_status", "ProviderStatus", given.get("providerstatus")),
        ("verification_date", "VerificationDate", given.get("verificationdate")),
    ]
    legal, trading = _small(given.get("legaladdress")) or {}, _small(given.get("tradingaddress")) or {}
    texts += [(fact, part, legal.get(part)) for part, fact in _LEGAL.items()]
    # A provider that trades where it is registered gives the one address.
    texts += [(fact, part, (trading or legal).get(part)) for part, fact in _MAIN.items()]
    contact = _small(given.get("primarycontact")) or {}
    texts += [(fact, part, contact[part]) for part, fact in _CONTACT.items() if part in contact]
    for fact, item, value in texts:
        _take(facts, fact, item, value, line, faults)
    _lists(facts, given)
    facts["status"] = (
        "Open" if str(facts.get("ukrlp_status", "Active")).lower().startswith(ACTIVE) else "Closed"
    )
    ukprn = str(facts.get("ukprn", ""))
    if not ukprn or "name" not in facts:
        fault = next((one for one in faults if one.item in ("UKPRN", "ProviderName")), None)
        reason, remedy = (
            (fault.reason, fault.remedy) if fault else ("the UKPRN or the name is missing", "Fill it in.")
        )
        issues.append(Issue(line, ukprn, "UKPRN", "row refused", reason, remedy))
        return None
    issues += [msgspec.structs.replace(one, record=ukprn) for one in faults]
    return facts


def _take(facts: Facts, fact: str, item: str, value: Any, line: int, faults: list[Issue]) -> None:
    """One text into the facts, unless it is blank or bad."""
    if value is None or isinstance(value, (dict, list)):
        return
    text = tidy(str(value))
    if not text:
        return
    try:
        facts[fact] = _READ_AS.get(fact, values.text)(text)
    except BadValue as error:
        faults.append(Issue(line, "", item, "value left blank", error.reason, error.remedy))


def _lists(facts: Facts, given: dict[str, Any]) -> None:
    """Trading names, and who has verified that the provider exists."""
    names = sorted({name for one in _many(given.get("provideraliases")) if (name := tidy(_name(one)))})
    if names:
        facts["trading_names"] = list(names)
    verified: list[dict[str, Any]] = []
    for one in map(_small, _many(given.get("verificationdetails"))):
        if one and one.get("verificationauthority"):
            primary = str(one.get("primaryverificationsource", "")).lower() == "true"
            verified.append(
                {
                    "authority": tidy(str(one["verificationauthority"]))[:200],
                    "id": tidy(str(one.get("verificationid") or ""))[:60],
                    "primary": primary,
                }
            )
    if verified:
        facts["verifications"] = sorted(verified, key=lambda one: json.dumps(one, sort_keys=True))


def _name(one: Any) -> str:
    found = _small(one)
    return str(one if found is None else found.get("name") or found.get("provideralias") or "")[:400]


def _many(value: Any) -> Iterable[Any]:
    return value[:MAX_LIST] if isinstance(value, list) else []


def _small(value: Any) -> dict[str, Any] | None:
    """An object with its names in small letters: services have written them both ways."""
    return {str(name).lower(): inner for name, inner in value.items()} if isinstance(value, dict) else None
