"""Every setting, typed. Read once, from `commonroom.yaml` in the data folder, then from `COMMONROOM_*` variables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from commonroom.problems import Problem

DEFAULT_DATA = Path("commonroom-data")
FILE_NAME = "commonroom.yaml"
HUB_ADDRESS = "hub-address"  # in `run` of the data folder, while a supervisor's hub runs there
# No user, password or option: credentials are the environment's, for addresses stand in files, logs and errors.
_STORE = re.compile(r"(?:s3|gs|az)://[a-z0-9][a-z0-9._-]*(?:/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*/?")
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}"
# What Spark Connect may be told in its address. A token may not: it would stand in a file and in every error.
_ANALYTICS = re.compile(
    rf"duckdb|spark://{_HOST}(?:,{_HOST})*|sc://{_HOST}(?:/(?:;(?:use_ssl|user_id)=[^;,/\s]+)*)?"
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator may choose. `data` holds everything the system writes."""

    data: Path
    mode: Literal["demo", "production"] = "demo"
    # A PostgreSQL DSN; when absent our own server runs in the data folder.
    database: str | None = None
    bind: str = "127.0.0.1"
    hub_port: int = 8081
    # How many hub processes share that port; each uses one core at most.
    hub_processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    portal_port: int = 8080
    # Where clients reach the hub; derived from `bind` and `hub_port` when absent.
    hub_address: str | None = None
    # Where people reach the portal; derived when absent. https makes cookies Secure.
    portal_address: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    max_body_bytes: int = 1_048_576
    max_batch: int = 500
    max_batch_bytes: int = 33_554_432
    lease_seconds: int = 60
    # Where large bodies are kept: a folder or an fsspec URL; `bodies` in the data folder when absent.
    body_store: str | None = None
    max_large_body_bytes: int = 17_179_869_184
    # What one party may have open: uploads not yet complete, or complete and in no message; and their bytes together.
    max_uploads: int = 16
    max_uploads_bytes: int = 68_719_476_736
    # An upload that is not touched for so long is forgotten.
    upload_hours: int = 24
    # Uploads are refused when they would leave less than this on the disk.
    keep_free_bytes: int = 1_073_741_824
    # Files of the body store that no message needs are kept so long before they are swept away.
    body_grace_seconds: int = 3_600
    # The file that declares the governance group, its members and its rule; relative to the data folder.
    governance: str | None = None
    # Networks (`10.20.0.0/16, fd00:1::/32`) to which letters may be pushed although they are not public, and by plain http.
    push_allow_networks: str = ""
    # Pushes to one subscription at the same time, over all hub processes, and how long one may take.
    push_concurrency: int = 4
    push_seconds: float = 20.0
    # How long (domain clock) a report waits for its sender; tracking tells the same for ever.
    report_days: int = 30
    # What one end point may send in a minute, counted by each hub process; `hub quota set` has others for single ones.
    quota_messages_a_minute: int = 300_000
    quota_bytes_a_minute: int = 2_000_000_000
    # A recipient with more unfinished deliveries than this is counted in the metrics and warned of; nothing is refused.
    unfinished_warning: int = 100_000
    # Whether a message must carry its sender's signature. A signature that is there is checked in any case.
    require_signatures: bool = True
    # How long an end point's old key stays valid beside its new one.
    key_overlap_days: int = 7
    # Look-ups in the learner register that one party may make in a minute, counted by each portal process.
    learner_look_ups_a_minute: int = 600
    # Where the warehouse's tables lie: `s3://bucket/prefix`, credentials from the environment; `warehouse` in the data
    # folder when absent.
    warehouse_store: str | None = None
    # How much of that store is kept on this machine to be read; more only while a question needs it.
    warehouse_cache_bytes: Annotated[int, msgspec.Meta(ge=0)] = 34_359_738_368
    duckdb_memory_mb: Annotated[int, msgspec.Meta(ge=64)] = 1024
    duckdb_threads: Annotated[int, msgspec.Meta(ge=1)] = 2
    # Published figures: `released` in the evening of each school day and on Friday, each release decided beside all before
    # it; or `live`, as at each moment, where nobody who keeps them is to be feared.
    figures: Literal["released", "live"] = "released"
    # What works measures out: `duckdb` in this process, `spark://host:port` (a cluster, this process its driver), or
    # `sc://host:port` (a Spark Connect server).
    analytics: str = "duckdb"
    # The URI under which that cluster finds the warehouse folder; the folder's own path when absent.
    analytics_folder: str | None = None
    # How long the cluster may take over one measure.
    analytics_seconds: float = 600.0

    @property
    def hub_url(self) -> str:
        """The hub's base address, no slash at the end."""
        return (self.hub_address or f"http://{self.bind}:{self.hub_port}").rstrip("/")

    @property
    def portal_url(self) -> str:
        """The portal's base address, no slash at the end."""
        return (self.portal_address or f"http://{self.bind}:{self.portal_port}").rstrip("/")

    def folder(self, name: str) -> Path:
        """A folder inside the data folder, made when missing; `keys` is readable by the owner alone."""
        path = self.data / name
        path.mkdir(parents=True, exist_ok=True)
        if name == "keys":
            path.chmod(0o700)
        return path


def load(data: Path | None = None) -> Settings:
    """Settings of a data folder. Environment variables win over the file; unknown names are refused."""
    folder = Path(data or os.environ.get("COMMONROOM_DATA") or DEFAULT_DATA).absolute()
    values = {**_from_file(folder / FILE_NAME), **_from_environment(), "data": str(folder)}
    try:
        found = msgspec.convert(values, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise Problem(
            "CR-002",
            str(error),
            where=str(folder / FILE_NAME),
            remedy=f"Known settings: {', '.join(Settings.__struct_fields__)}.",
        ) from error
    _check_analytics(found, folder / FILE_NAME)
    _check_store(found, folder / FILE_NAME)
    return found


def as_running(settings: Settings) -> Settings:
    """The same with the address of the hub that runs in this data folder now: a port that was taken is another one."""
    try:
        address = (settings.data / "run" / HUB_ADDRESS).read_text("utf-8")
    except FileNotFoundError:
        return settings
    return msgspec.structs.replace(settings, hub_address=address)


def _check_analytics(found: Settings, path: Path) -> None:
    """Addresses of a cluster that cannot be right are told now, not by the first question."""
    if not _ANALYTICS.fullmatch(found.analytics):
        raise Problem(
            "CR-002",
            "`analytics` is not the address of an engine",
            where=str(path),
            remedy="Use duckdb, spark://host:7077 or sc://host:15002, the last with /;use_ssl=true where it has a "
            "certificate. Its token is read from SPARK_CONNECT_AUTHENTICATE_TOKEN.",
        )
    if found.analytics_folder is not None and "://" not in found.analytics_folder:
        raise Problem(
            "CR-002",
            "`analytics_folder` is not a URI",
            where=str(path),
            remedy="Write it with its scheme: file:///mnt/warehouse, s3a://bucket/warehouse.",
        )


def _check_store(found: Settings, path: Path) -> None:
    if found.warehouse_store is not None and not _STORE.fullmatch(found.warehouse_store):
        raise Problem(
            "CR-002",
            "`warehouse_store` is not the address of an object store",
            where=str(path),
            remedy="Write s3://bucket/prefix (gs://, az:// for those stores). Credentials, region and end point are read "
            "from the environment: AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL and their like.",
        )


def _decode(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value


def _from_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    found = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # noqa: S506 - BaseLoader makes strings only
    if found is not None and not isinstance(found, dict):
        raise Problem("CR-002", "the file must hold `name: value` lines", where=str(path))
    return found or {}


def _from_environment() -> dict[str, Any]:
    """`COMMONROOM_HUB_PORT=9` sets `hub_port`; variables that name no setting belong to others and are left."""
    names = {f"COMMONROOM_{name.upper()}": name for name in Settings.__struct_fields__ if name != "data"}
    return {names[key]: value for key, value in os.environ.items() if key in names and value}
