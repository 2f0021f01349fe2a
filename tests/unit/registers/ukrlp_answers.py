"""Small answers of UKRLP for tests, in both of its forms, and schools of the other nations; all of it invented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORD: dict[str, Any] = {
    "UKPRN": "10099001",
    "ProviderName": "SALTMERE COLLEGE LIMITED",
    "ProviderStatus": "Active",
    "VerificationDate": "2022-09-15T00:00:00Z",
    "LegalAddress": {
        "Address1": "1 Registered Row",
        "Address2": None,
        "Address3": None,
        "Address4": None,
        "Town": "Westmarch",
        "County": None,
        "PostCode": "WM1 1AA",
    },
    "TradingAddress": {"Address1": "Harbour Campus", "Town": "Saltmere", "PostCode": "wm12bd"},
    "PrimaryContact": {
        "ContactPersonalDetails": {
            "PersonNameTitle": "Ms",
            "PersonGivenName": "Perpetua",
            "PersonFamilyName": "Nobodyson",
        },
        "ContactRole": "Registry",
        "ContactTelephone1": "01632 960001",
        "ContactEmail": "registry@saltmere.example",
        "Url": "www.saltmere.example",
        "LastUpdated": "2024-02-01T10:00:00",
    },
    "ProviderAliases": [{"Name": "Saltmere Tech"}, {"Name": "The Harbour Academy of Trades"}],
    "VerificationDetails": [
        {
            "VerificationAuthority": "Companies House",
            "VerificationID": "09999999",
            "PrimaryVerificationSource": True,
        }
    ],
}

SOAP = """<?xml version='1.0' encoding='UTF-8'?>
<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body>
<ns0:ProviderQueryResponse xmlns:ns0="http://ukrlp.co.uk.server.ws.v3">
{records}
</ns0:ProviderQueryResponse></S:Body></S:Envelope>
"""

SOAP_RECORD = """<MatchingProviderRecords>
<UnitedKingdomProviderReferenceNumber>10099001</UnitedKingdomProviderReferenceNumber>
<ProviderName>SALTMERE COLLEGE LIMITED</ProviderName>
<ProviderStatus>Active</ProviderStatus>
<ProviderContact><ContactType>L</ContactType>
<ContactAddress><Address1>1 Registered Row</Address1><Town>Westmarch</Town><PostCode>WM1 1AA</PostCode></ContactAddress>
<ContactPersonalDetails/><LastUpdated>2024-02-01</LastUpdated></ProviderContact>
<ProviderContact><ContactType>P</ContactType>
<ContactAddress><Address1>Harbour Campus</Address1><Town>Saltmere</Town><PostCode>WM1 2BD</PostCode></ContactAddress>
<ContactPersonalDetails><p:PersonGivenName xmlns:p="http://www.govtalk.gov.uk/people/PersonDescriptives">Perpetua</p:PersonGivenName></ContactPersonalDetails>
<ContactRole>Registry</ContactRole><ContactTelephone1>01632 960001</ContactTelephone1>
<ContactWebsiteAddress>www.saltmere.example</ContactWebsiteAddress>
<ContactEmail>registry@saltmere.example</ContactEmail><LastUpdated>2024-02-01</LastUpdated></ProviderContact>
<ProviderVerificationDate>2022-09-15</ProviderVerificationDate>
<ProviderAliases><ProviderAlias>Saltmere Tech</ProviderAlias></ProviderAliases>
<ProviderAliases><ProviderAlias>The Harbour Academy of Trades</ProviderAlias></ProviderAliases>
<VerificationDetails><VerificationAuthority>Companies House</VerificationAuthority>
<VerificationID>09999999</VerificationID><PrimaryVerificationSource>true</PrimaryVerificationSource></VerificationDetails>
</MatchingProviderRecords>
"""

NATIONS = """Nation,SchoolNumber,SchoolName,UKPRN,Phase,Status,AuthorityCode,AuthorityName,Town,Postcode,NumberOfPupils
Wales,6714047,Ysgol Gyfun Ystwyth,10099101,Secondary,Open,667,Ceredigion Sample,Llanfair,SY23 1AA,810
Scotland,5530741,Glen Sample Academy,,Secondary,Open,S12000036,City of Sample,Glen Sample,EH1 1AA,640
Northern Ireland,123-0456,Lough Sample Primary,10099103,Primary,Open,N09000003,Education Authority Sample,Lough,BT1 1AA,210
Wales,6714048,,,,Open,667,Ceredigion Sample,,,
England,6714049,Wrong Nation School,,,Open,667,Ceredigion Sample,,,
"""


def changed(**members: Any) -> dict[str, Any]:
    """The record with some members changed."""
    return {**RECORD, **members}


def write_lines(path: Path, records: list[Any]) -> Path:
    """A file of newline-delimited JSON."""
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
    return path
