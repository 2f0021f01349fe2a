"""The LearnerPersonal object of SIF UK as XML: read into a registration, written from a learner.

Element names follow SIF UK 1.x; which of them SIF UK 3 keeps is derived (docs/learners.md). Namespaces are not looked at
when reading: suppliers use several.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec
from lxml import etree

from commonroom.problems import Problem, add_codes
from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.store import Learner, Registration

add_codes({"CR-247": "The SIF message cannot be read"})

DATA = "http://www.sifinfo.org/uk/datamodel/3.x"
INFRASTRUCTURE = "http://www.sifassociation.org/infrastructure/3.x"
OBJECT, COLLECTION = "LearnerPersonal", "LearnerPersonals"
MOST_OBJECTS = 1000
BY_SCHOOL, NOTICE_GIVEN = "1", "1"
_TO_US = {
    "M": "1",
    "F": "2",
    "MALE": "1",
    "FEMALE": "2",
    "U": "0",
    "N": "9",
    "1": "1",
    "2": "2",
    "0": "0",
    "9": "9",
}
_TO_SIF = {"1": "M", "2": "F", "0": "U", "9": "N"}


class Object(msgspec.Struct, frozen=True):
    """A LearnerPersonal that was sent."""

    ref: str
    local_id: str | None
    registration: Registration


def read(content: bytes) -> list[Object]:
    """The LearnerPersonal objects of a body: one, or a collection. Raises Problem CR-247."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, remove_comments=True
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise Problem("CR-247", "the body is not XML", where=f"line {error.lineno}") from error
    if root.getroottree().docinfo.doctype:
        raise Problem("CR-247", "the body has a document type", remedy="Leave it out.")
    found = [root] if _tag(root) == OBJECT else [child for child in root if _tag(child) == OBJECT]
    if not found or len(found) > MOST_OBJECTS:
        raise Problem("CR-247", f"a body has 1 to {MOST_OBJECTS:,} {OBJECT} objects")
    return [_object(element) for element in found]


def write(learner: Learner, ref: UUID | None, local_id: str | None) -> etree._Element:
    """A learner as an object; what the caller may not see is left out."""
    root = etree.Element(f"{{{DATA}}}{OBJECT}", nsmap={None: DATA})
    if ref is not None:
        root.set("RefId", ref.hex.upper())
    _add(root, "LocalId", local_id)
    _add(root, "UPN", learner.upn)
    _add(root, "UniqueLearnerNumber", learner.uln)
    person = etree.SubElement(root, f"{{{DATA}}}PersonalInformation")
    name = etree.SubElement(person, f"{{{DATA}}}Name", Type="C")
    _add(name, "FamilyName", learner.family_name)
    _add(name, "GivenName", learner.given_name)
    _add(name, "MiddleName", learner.middle_names)
    demographics = etree.SubElement(person, f"{{{DATA}}}Demographics")
    _add(demographics, "BirthDate", learner.date_of_birth)
    _add(demographics, "Gender", _TO_SIF.get(learner.gender or ""))
    if learner.postcode:
        address = etree.SubElement(person, f"{{{DATA}}}Address", Type="C")
        _add(address, "Town", learner.town)
        _add(address, "PostCode", learner.postcode)
    return root


def collection(objects: Iterable[etree._Element]) -> bytes:
    """Objects as a collection."""
    root = etree.Element(f"{{{DATA}}}{COLLECTION}", nsmap={None: DATA})
    root.extend(objects)
    return whole(root)


def create_response(created: Iterable[tuple[str, str, int, str]]) -> bytes:
    """What became of each object of a collection: our id, the sender's, the status, and why not."""
    root = etree.Element(f"{{{INFRASTRUCTURE}}}createResponse", nsmap={None: INFRASTRUCTURE})
    creates = etree.SubElement(root, f"{{{INFRASTRUCTURE}}}creates")
    for ref, advisory, status, message in created:
        one = etree.SubElement(
            creates, f"{{{INFRASTRUCTURE}}}create", statusCode=str(status), advisoryId=advisory
        )
        if ref:
            one.set("id", ref)
        if message:
            one.append(_error(str(status), message))
    return whole(root)


def environment(base: str, name: str, party: str) -> bytes:
    """The environment of a consumer: where the services are."""
    root = etree.Element(
        f"{{{INFRASTRUCTURE}}}environment", nsmap={None: INFRASTRUCTURE}, type="DIRECT", id=name
    )
    for tag, text in (("authenticationMethod", "Bearer"), ("consumerName", party)):
        etree.SubElement(root, f"{{{INFRASTRUCTURE}}}{tag}").text = text
    services = etree.SubElement(root, f"{{{INFRASTRUCTURE}}}infrastructureServices")
    for service, place in (
        ("requestsConnector", "requests"),
        ("queues", "queues"),
        ("eventsConnector", "events"),
    ):
        one = etree.SubElement(services, f"{{{INFRASTRUCTURE}}}infrastructureService", name=service)
        one.text = f"{base}/api/sif/{place}"
    return whole(root)


def queue(name: str, base: str) -> bytes:
    """A queue of events."""
    root = etree.Element(f"{{{INFRASTRUCTURE}}}queue", nsmap={None: INFRASTRUCTURE}, id=name)
    etree.SubElement(root, f"{{{INFRASTRUCTURE}}}polling").text = "IMMEDIATE"
    etree.SubElement(root, f"{{{INFRASTRUCTURE}}}queueUri").text = f"{base}/api/sif/queues/{name}/messages"
    return whole(root)


def whole(root: etree._Element) -> bytes:
    """A document."""
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def _object(element: etree._Element) -> Object:
    def text(*path: str) -> str | None:
        return _text(element, path)

    person = ("PersonalInformation",)
    name, demographics, address = (*person, "Name"), (*person, "Demographics"), (*person, "Address")
    house = " ".join(
        part
        for part in (
            text(*address, "PAON", "StartNumber") or text(*address, "PAON"),
            text(*address, "Street"),
        )
        if part
    )
    family, given = text(*name, "FamilyName") or "", text(*name, "GivenName") or ""
    details = Details(
        given_name=given if family else "",
        family_name=family or given,
        date_of_birth=text(*demographics, "BirthDate") or "",
        gender=_TO_US.get((text(*demographics, "Gender") or "").upper(), "0"),
        postcode=text(*address, "PostCode"),
        middle_names=text(*name, "MiddleName"),
        preferred_given_name=text(*name, "PreferredGivenName"),
        upn=text("UPN"),
        email=text(*person, "Email"),
        house=house or None,
        town=text(*address, "Town"),
    )
    local = text("LocalId")
    registration = Registration(
        details=details,
        # The object has neither: the sender is a school, which knows its pupils and has given them notice.
        verification_type=BY_SCHOOL,
        ability_to_share=NOTICE_GIVEN,
        reference=local,
        uln=text("UniqueLearnerNumber"),
        source="sif",
    )
    return Object(element.get("RefId", ""), local, registration)


def _text(element: etree._Element, path: tuple[str, ...]) -> str | None:
    found: etree._Element | None = element
    for tag in path:
        found = next((child for child in found if _tag(child) == tag), None) if found is not None else None
    return (found.text or "").strip() or None if found is not None else None


def _tag(element: etree._Element) -> str:
    return str(etree.QName(element).localname)


def _add(parent: etree._Element, name: str, text: str | None) -> None:
    if text:
        etree.SubElement(parent, f"{{{DATA}}}{name}").text = text


def _error(code: str, message: str) -> etree._Element:
    error = etree.Element(f"{{{INFRASTRUCTURE}}}error")
    for tag, text in (("code", code), ("scope", OBJECT), ("message", message)):
        etree.SubElement(error, f"{{{INFRASTRUCTURE}}}{tag}").text = text
    return error
