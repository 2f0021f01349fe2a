"""What tests of the warehouse share: letters as schools would send them, and a directory that knows the schools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from commonroom import exchange
from commonroom.engines.duck import Duck
from commonroom.exchange import Envelope, Letter, RecordSet
from commonroom.hub import directory
from commonroom.hub.directory import Alias, Party
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.settings import Settings
from commonroom.standard import identifiers
from commonroom.warehouse import batches
from commonroom.warehouse.batches import Loaded

REGISTERS, DEPARTMENT = org_urn(uuid7()), org_urn(uuid7())
Record = dict[str, Any]


def upn(serial: int) -> str:
    """The UPN of an invented pupil."""
    return identifiers.make_upn("997", 4000 + serial // 1000, 20, serial % 1000)


def mark(school: str, pupil: int, day: str, session: str, code: str, version: int = 1) -> Record:
    """One attendance mark."""
    return {
        "school": school,
        "upn": upn(pupil),
        "date": day,
        "session": session,
        "code": code,
        "version": version,
    }


def enrolment(school: str, pupil: int, entry: str, *, version: int = 1, **more: Any) -> Record:
    """One stay on a roll, a single main registration unless said otherwise."""
    return {
        "school": school, "upn": upn(pupil), "entry_date": entry, "valid_from": entry, "version": version,
        "enrolment_status": "C", "nc_year": "7", **more,
    }  # fmt: skip


def organisation(party: str, urn: str, la: str = "997", region: str = "E12000009", **more: Any) -> Record:
    """What the register says of a school."""
    return {
        "organisation": party, "kind": "school", "name": f"School {urn}", "urn": urn, "la_code": la,
        "la_name": {"997": "Westmarch", "998": "Eastvale"}[la], "region_code": region, "region_name": "South West",
        "valid_from": "2025-09-01", "version": 1, **more,
    }  # fmt: skip


class House:
    """A warehouse with some schools in the directory, and letters for it."""

    def __init__(self, connection: Any, settings: Settings, schools: Sequence[str]) -> None:
        self.connection, self.settings = connection, settings
        self.parties = {urn: org_urn(uuid7()) for urn in schools}
        self.duck = Duck(settings, [settings.folder("warehouse")])
        self.position = 0

    async def open(self, *authorities: str) -> House:
        """Publish the schools, the register, and authorities by their numbers."""
        self.authorities = {la: org_urn(uuid7()) for la in authorities}
        parties = [Party(party, f"School {urn}", ("school",)) for urn, party in self.parties.items()]
        aliases = [Alias(alias_urn("urn", urn), party) for urn, party in self.parties.items()]
        parties += [Party(party, f"Authority {la}", ("authority",)) for la, party in self.authorities.items()]
        aliases += [Alias(alias_urn("la", la), party) for la, party in self.authorities.items()]
        register = Party(REGISTERS, "Registers", ("platform",))
        await directory.publish(
            self.connection,
            [*parties, register, Party(DEPARTMENT, "Department", ("platform",))],
            [
                *aliases,
                Alias(alias_urn("platform", "registers"), REGISTERS),
                Alias(alias_urn("platform", "department"), DEPARTMENT),
            ],
            [],
        )
        return self

    def letter(
        self,
        sender: str,
        entity: str,
        records: Sequence[Record] = (),
        withdrawn: Sequence[Record] = (),
        *,
        accepted_at: str | None = None,
        standard: str = "2026.1",
        **more: Any,
    ) -> Letter:
        """A letter of one school (by URN) or party, accepted by the hub after all before it."""
        self.position += 1
        content = RecordSet(
            standard=standard,
            records={entity: list(records)} if records else {},
            withdrawn={entity: list(withdrawn)} if withdrawn else {},
            **more,
        )
        return Letter(
            envelope=Envelope(
                id=str(uuid7()),
                source=self.parties.get(sender) or self.authorities.get(sender, sender),
                type=f"commonroom.{entity.replace('_', '-')}.changed",
                datacontenttype=exchange.RECORDS_TYPE,
            ),
            body=exchange.encode(content),
            delivery=str(uuid7()),
            position=self.position,
            accepted_at=datetime.fromisoformat(accepted_at) if accepted_at else datetime.now(UTC),
            attempt=1,
        )

    async def load(self, *letters: Letter) -> Loaded:
        """Load them as one batch."""
        return await batches.load(self.connection, self.settings, self.duck, letters)

    async def register(self, trusts: Mapping[str, str] | None = None, **la_of: str) -> Loaded:
        """Let the register say where the schools are; `la_of` by `s<URN>`, 997 where it says nothing.

        `trusts` has the number of a school's trust by URN.
        """
        run_by = {
            urn: {"trust_uid": uid, "trust_name": f"Trust {uid}"} for urn, uid in (trusts or {}).items()
        }
        records = [
            organisation(party, urn, la_of.get(f"s{urn}", "997"), **run_by.get(urn, {}))
            for urn, party in self.parties.items()
        ]
        return await self.load(
            self.letter(REGISTERS, "organisation", records, accepted_at="2025-09-01T08:00+00:00")
        )
