"""What a demo is asked to be, and the note in its data folder that lets a later start go on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from commonroom import settings as settings_module
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.supervisor import free_port

NOTE = "demo.json"
# Who votes in the demo county, unless its folder declares another group.
GROUP = Path(__file__).parent / "governance.yaml"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The wishes of the command line; the first five make the county."""

    register: Path | None = None  # a GIAS extract; None: the invented county
    la: str | None = None  # with `register`: the LA whose real schools take the invented pupils
    pupils: int = 6_000
    seed: int = 1
    late: int = 0  # of a hundred pupils' days, how many are corrected, struck out or entered late
    days: int | None = None  # school days to pass; None: no end
    pause: float = 20.0  # seconds between days while somebody watches

    def checked(self) -> Plan:
        """Raises Problem CR-002 when the wishes contradict each other."""
        if (self.register is None) != (self.la is None):
            raise Problem(
                "CR-002",
                "--register and --la belong together",
                where="commonroom demo",
                remedy="Give both, for example --register FILE --la 936, or neither.",
            )
        if self.register and not self.register.is_file():
            raise Problem(
                "CR-004", "there is no such file", where=str(self.register), remedy="Check the path."
            )
        return self


def settled_plan(settings: Settings, wished: Plan) -> Plan:
    """The plan of the county that lives in this folder, which goes on; the wished one when none does.

    Days and pause are always the wished ones.
    """
    path = settings.data / NOTE
    if not path.exists():
        return wished
    kept = msgspec.json.decode(path.read_bytes(), type=Plan, dec_hook=_path)
    return msgspec.structs.replace(kept, days=wished.days, pause=wished.pause)


def keep_plan(settings: Settings, plan: Plan) -> None:
    """Note that this county lives here now."""
    path = settings.data / NOTE
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(plan, enc_hook=str))
    new.replace(path)


def _path(kind: type, value: object) -> object:
    return Path(str(value)) if kind is Path else value


def choose_settings(data: Path | None, say: Callable[[str], None], *, any_port: bool) -> Settings:
    """Settings of the demo's folder with ports that are free now; the usual ones unless `any_port`."""
    chosen = settings_module.load(data)
    if chosen.mode != "demo":
        raise Problem("CR-006", "this data folder is a production system", where=str(chosen.data), status=403)
    if chosen.bind not in LOOPBACK:
        raise Problem(
            "CR-002",
            "the demo listens on this machine's own address only: its passwords are public",
            where="the setting bind",
            remedy="Leave `bind` out, or run `commonroom serve` in production mode.",
        )
    hub = free_port(None if any_port else chosen.hub_port)
    portal = free_port(None if any_port else chosen.portal_port, taken=hub)
    if not any_port:
        for wanted, found in ((chosen.hub_port, hub), (chosen.portal_port, portal)):
            if wanted != found:
                say(f"Port {wanted} is taken; {found} serves this time.")
    group = chosen.governance or str(GROUP)
    return msgspec.structs.replace(chosen, hub_port=hub, portal_port=portal, governance=group)
