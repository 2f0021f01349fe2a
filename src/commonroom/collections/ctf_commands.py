"""`commonroom ctf`: read transfer files as records of the standard, and write them. Thin: call, print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(no_args_is_help=True, help="Common Transfer Files, from school to school.")

School = Annotated[str | None, typer.Option("--school", help="URN of the sending school.")]
Register = Annotated[
    Path | None,
    typer.Option(
        "--register", help="CSV of schools: urn, laestab, name; or the published extract of establishments."
    ),
]
_MOST = 20


@app.command("read")
def read(
    file: Annotated[Path, typer.Argument(help="The transfer file.")],
    out: Annotated[Path, typer.Option("--out", help="The record set (JSON) to write.")],
    school: School = None,
    register: Register = None,
) -> None:
    """Check a transfer file and tell it as records of the standard. Status 1 where it has errors; records that are good
    are written all the same."""
    from commonroom import standard
    from commonroom.collections import transfer_file

    schools = transfer_file.schools_of(register) if register else []
    done = transfer_file.read(file, schools, school)
    content = msgspec.json.encode({"standard": standard.load().version, "records": done.records})
    aside = out.with_name(f"{out.name}.new")
    aside.touch(0o600)
    aside.write_bytes(msgspec.json.format(content))
    aside.replace(out)
    _say_findings(done.report.findings)
    for (entity, item, rule, severity), count in Counter(
        (one.entity, one.item, one.rule, one.severity) for one in done.refused
    ).items():
        typer.echo(f"{severity}: {count:,} of {entity}{'.' if item else ''}{item}: {rule}")
    _say_left_out(done.left_out, "The standard has no place or value for")
    total = sum(map(len, done.records.values()))
    typer.echo(f"{done.report.records:,} pupils; {total:,} records of {len(done.records)} entities in {out}.")
    wrong = done.report.errors or any(one.severity == "error" for one in done.refused)
    raise typer.Exit(1 if wrong else 0)


@app.command("write")
def write(
    records: Annotated[Path, typer.Argument(help="A record set (JSON).")],
    source: Annotated[str, typer.Option("--from", help="LLLEEEE of the sender.")],
    destination: Annotated[str, typer.Option("--to", help="LLLEEEE of the receiver; XXXXXXX, MMMMMMM.")],
    serial: Annotated[str, typer.Option("--serial", help="001 to 999.")] = "001",
    out: Annotated[Path, typer.Option("--out", help="The folder to write into.")] = Path(),
    part: Annotated[
        str | None, typer.Option("--part", help="FSP, KS1, KS2, KS3, PHO, ULN or FSM: a partial file.")
    ] = None,
    pupil: Annotated[
        list[str] | None, typer.Option("--pupil", help="UPN of a pupil; may be repeated.")
    ] = None,
    school: School = None,
    register: Register = None,
    at: Annotated[
        datetime | None, typer.Option("--at", help="The time the file says; without it now.")
    ] = None,
) -> None:
    """Write a transfer file of a record set. Status 1, and no file, where it would have errors."""
    from commonroom.collections import transfer_file
    from commonroom.standard.files import read_records

    wanted = transfer_file.Outgoing(
        source,
        destination,
        serial,
        at or datetime.now().astimezone(),
        part=part,
        school=school,
        upns=frozenset(pupil or ()),
        schools=transfer_file.schools_of(register) if register else [],
    )
    done = transfer_file.write(read_records(records), wanted, out)
    _say_findings(done.report.findings)
    _say_left_out(done.left_out, "The file has no place for")
    if done.path is None:
        typer.echo(f"Nothing was written: {done.report.errors:,} errors.")
        raise typer.Exit(1)
    typer.echo(f"{done.report.records:,} pupils in {done.path}.")


def _say_findings(findings: Iterable[object]) -> None:
    from commonroom.collections.findings import Finding

    shown = [one for one in findings if isinstance(one, Finding)]
    for one in shown[:_MOST]:
        typer.echo(f"{one.severity} {one.rule} at {one.locations[0].path or 'the file'}: {one.message}")
    if len(shown) > _MOST:
        typer.echo(
            f"... and {len(shown) - _MOST:,} more; `commonroom check FILE --collection ctf` lists all."
        )


def _say_left_out(left_out: Counter[str], words: str) -> None:
    if left_out:
        told = ", ".join(f"{name} ({count:,})" for name, count in sorted(left_out.items()))
        typer.echo(f"{words}: {told}.")
