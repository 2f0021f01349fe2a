"""An extract as files: one CSV a table, a manifest of their digests, and its signature. Verified with nothing but these."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from commonroom.engines import files
from commonroom.exchange import keys
from commonroom.problems import Problem
from commonroom.settings import Settings

MANIFEST, SIGNATURE = "manifest.json", "manifest.jws"
BLOCK_BYTES = 1024 * 1024


class File(msgspec.Struct, frozen=True):
    """One file of an extract."""

    name: str
    sha256: str
    size: int
    rows: int
    columns: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True):
    """What an extract is, made from what, and its files. The same again when made again."""

    name: str
    title: str
    declaration: str  # SHA-256 of the approved request
    form: str
    standard: str
    known_at: datetime
    files: tuple[File, ...]


class _Sink:
    """A file that is written from first to last, and hashed and measured on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest, self.size, self.closed = hashlib.sha256(), 0, False

    def write(self, content: Any) -> int:
        """Write some more."""
        self.digest.update(content)
        self.size += len(content)
        self._file.write(content)
        return len(content)

    def flush(self) -> None:
        """Nothing is kept back here."""

    def close(self) -> None:
        """The file is closed by who opened it."""
        self.closed = True


def write(folder: Path, name: str, rows: Any) -> File:
    """Arrow batches as CSV: UTF-8, a first line of names, texts in quotes, nothing for what is not known.

    Each batch is written before the next is read: memory does not grow with the table.
    """
    count, path = 0, folder / name
    with path.open("wb") as file:
        sink = _Sink(file)
        with pa_csv.CSVWriter(
            pa.PythonFile(sink, "w"), rows.schema, write_options=pa_csv.WriteOptions(quoting_style="needed")
        ) as writer:
            for batch in rows:
                writer.write_batch(batch)
                count += batch.num_rows
    files.sync([path])
    return File(name, sink.digest.hexdigest(), sink.size, count, tuple(rows.schema.names))


def seal(settings: Settings, folder: Path, manifest: Manifest) -> None:
    """Write the manifest, and sign its bytes with the key of extracts."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    files.write(folder / MANIFEST, content)
    key = signing_key(settings)
    signed = jws.serialize_compact(
        {"alg": keys.ALGORITHM, "kid": key.thumbprint()}, content, key, algorithms=[keys.ALGORITHM]
    )
    files.write(folder / SIGNATURE, signed.encode("ascii"))


def signing_key(settings: Settings) -> OKPKey:
    """The key that signs manifests; its public half is given out (`commonroom extracts key`)."""
    return keys.load_or_create(settings.folder("keys") / "extracts.pem")


def verify(folder: Path, public: OKPKey) -> Manifest:
    """The manifest of a folder whose signature and files are right. Raises Problem CR-268 naming what is not.

    A browser saves each file with the extract's name and a hyphen before its own: that is the same extract.
    """
    before = _saved_as(folder)
    try:
        content = (folder / f"{before}{MANIFEST}").read_bytes()
        signed = jws.deserialize_compact(
            (folder / f"{before}{SIGNATURE}").read_bytes().strip(), public, algorithms=[keys.ALGORITHM]
        )
    except FileNotFoundError as error:
        raise changed(Path(error.filename).name, "it is missing") from None
    except (JoseError, ValueError) as error:
        raise changed(SIGNATURE, "it is not this key's signature") from error
    if signed.payload != content:
        raise changed(MANIFEST, "it is not what was signed")
    manifest = msgspec.json.decode(content, type=Manifest)
    for file in manifest.files:
        if _digest(folder / f"{before}{file.name}") != file.sha256:
            raise changed(f"{before}{file.name}", "it is missing or was changed")
    return manifest


def _saved_as(folder: Path) -> str:
    """What stands before the names of an extract's files in a folder: nothing, or the name of the one that lies there."""
    if (folder / MANIFEST).exists():
        return ""
    found = sorted(folder.glob(f"*-{MANIFEST}"))
    if len(found) > 1:
        raise Problem(
            "CR-268",
            f"{len(found)} extracts lie in one folder",
            where=str(folder),
            remedy="Give each one of its own.",
        )
    return found[0].name.removesuffix(MANIFEST) if found else ""


def public_key(text: bytes) -> OKPKey:
    """A public key in JSON (JWK). Raises Problem CR-268."""
    try:
        found: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        return OKPKey.import_key(found)
    except (msgspec.MsgspecError, JoseError, ValueError, KeyError, TypeError) as error:
        raise changed("the public key", "it is no JWK of an Ed25519 key") from error


def changed(where: str, detail: str) -> Problem:
    """Problem CR-268."""
    return Problem("CR-268", detail, where=where, remedy="Fetch the extract again; do not use what you have.")


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
