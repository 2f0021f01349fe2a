"""`commonroom learners`: register from files, find, review, look for doubles, and try the matcher. Thin: call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress

from commonroom.problems import Problem
from commonroom.registers.learners import clerk_commands
from commonroom.registers.learners.command_line import AsJson, Data, caller, print_json, print_table, run
from commonroom.settings import Settings

app = typer.Typer(help="The register of learners: numbers, files, review.", no_args_is_help=True)
app.add_typer(clerk_commands.app)

As = Annotated[
    str | None,
    typer.Option(
        "--party", help="Whose work it is: a URN, a UKPRN, an authority's number; else the Department's."
    ),
]
Purpose = Annotated[str, typer.Option("--purpose", help="Why; one of the declared purposes.")]
LINES_SHOWN = 20
# The code of records whose learner is outside the ages that have numbers.
AGE = "RC013"
# What `evaluate` says of what could not count.
IGNORED = {
    "truth_ids_unknown": "ids in the truth are in neither file: their pairs do not count",
    "duplicate_ids": "records have an id that one before them in the same file has",
    "unreadable_dates": "records have a date of birth of which not all can be read: it counts as unknown",
}


@app.command("register")
def register(
    batch: Annotated[Path, typer.Option("--batch", help="LRS batch file (CSV, XML), CTF or school census.")],
    out: Annotated[Path | None, typer.Option("--out", help="The result file to write.")] = None,
    party: As = None,
    purpose: Purpose = "enrolment",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Register the learners of a file. Killed and begun again with the same file, it goes on where it was.

    Status 1 where records were refused, 2 where the file cannot be used.
    """
    _register(batch, out, party, purpose, data, as_json)


@app.command("load-census")
def load_census(
    file: Annotated[Path, typer.Argument(help="A school census, autumn, spring or summer.")],
    out: Annotated[Path | None, typer.Option("--out", help="The result file to write.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give every pupil of a school census from 13 on a number, in the name of the school where the register knows it."""
    from commonroom.registers.learners.files import opening

    if opening.form_of(opening.content_of(file), file.name) != "census":
        raise Problem(
            "CR-241",
            "this is no school census",
            where=file.name,
            remedy="Give a school census; other files of learners go by `commonroom learners register --batch`.",
        )
    _register(file, out, None, "statutory_return", data, as_json)


@app.command("find")
def find(
    given: Annotated[str, typer.Option("--given")] = "",
    family: Annotated[str, typer.Option("--family")] = "",
    born: Annotated[
        str, typer.Option("--born", help="YYYY-MM-DD; YYYY-MM or YYYY where more is not known.")
    ] = "",
    postcode: Annotated[str | None, typer.Option("--postcode")] = None,
    gender: Annotated[str, typer.Option("--gender", help="0, 1, 2 or 9.")] = "0",
    upn: Annotated[str | None, typer.Option("--upn")] = None,
    uln: Annotated[
        str | None, typer.Option("--uln", help="Look this number up; goes with the names.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only whether there is a number.")] = False,
    party: As = None,
    purpose: Purpose = "enrolment",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Find a learner by details, or by number and names."""
    from commonroom.registers.learners import answers, store
    from commonroom.registers.learners.matching.people import Details

    async def ask(chosen: Settings, conn: Any) -> Any:
        who = await caller(conn, party, purpose, role="clerk")
        if uln:
            return await store.find_by_uln(conn, who, uln, given, family)
        details = Details(
            given_name=given,
            family_name=family,
            date_of_birth=born,
            gender=gender,
            postcode=postcode,
            upn=upn,
        )
        return await store.find(conn, who, details, "check" if check else "full")

    found = run(data, ask)
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found.code} {answers.answers()[found.code].meaning}" + (f": {found.uln}" if found.uln else "")
    )
    for one in found.wrong:
        typer.echo(f"{one.item} {one.reason}", err=True)
    columns = ("uln", "given_name", "family_name", "date_of_birth", "gender", "postcode", "upn")
    print_table(columns, [[getattr(one, column) for column in columns] for one in found.learners])


@app.command("numbers")
def numbers(
    school: Annotated[str, typer.Option("--school", help="The school whose list it is: its URN.")],
    form: Annotated[Literal["csv", "json"], typer.Option("--format")] = "csv",
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; otherwise printed.")] = None,
    purpose: Purpose = "examinations",
    data: Data = None,
) -> None:
    """The look-up list of a school: its own pupils' numbers. The reading stands in the trail as the school's."""
    from commonroom.registers.learners import flow

    async def ask(chosen: Settings, conn: Any) -> bytes:
        who = await caller(conn, school, purpose)
        listed = await flow.numbers_of_school(conn, who, "command line")
        return flow.as_csv(listed).encode() if form == "csv" else flow.as_json(listed) + b"\n"

    content = run(data, ask)
    if out is not None:
        _write(out, content)
    else:
        typer.echo(content.decode(), nl=False)


@app.command("evaluate")
def evaluate(
    register_file: Annotated[Path, typer.Option("--register", help="CSV: loaded into an empty register.")],
    mapping: Annotated[
        str,
        typer.Option(
            "--map", help="given=COLUMN,family=...,dob=...,postcode=...,gender=...; also id and others."
        ),
    ],
    incoming: Annotated[
        Path | None,
        typer.Option("--incoming", help="CSV: submitted to it; left out, the register's own repeats count."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", help="CSV: pairs of ids that are one person; left out, ids that begin alike."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the matcher on files whose truth is known. Needs no database."""
    from commonroom.registers.learners.matching import tables
    from commonroom.registers.learners.matching.evaluate import evaluate as measured

    columns = tables.parse_mapping(mapping)
    for path in (register_file, incoming, truth):
        if path is not None and not path.is_file():
            raise Problem("CR-004", "there is no such file", where=str(path), remedy="Check the path.")
    done = measured(
        list(tables.read_rows(register_file, columns)),
        list(tables.read_rows(incoming, columns)) if incoming else None,
        tables.read_truth(truth) if truth else None,
    )
    ignored = {what: count for what, count in msgspec.structs.asdict(done.ignored).items() if count}
    for what, count in ignored.items():
        typer.secho(f"{count:,} {IGNORED[what]}", err=True, fg="yellow")
    if as_json:
        print_json(done)
    else:
        figures = msgspec.structs.asdict(done) | {"ignored": sum(ignored.values())}
        print_table(("figure", "value"), list(figures.items()))


def _register(
    path: Path, out: Path | None, party: str | None, purpose: str, data: Path | None, as_json: bool
) -> None:
    from commonroom.registers.learners import batches
    from commonroom.registers.learners.files import opening, pupils
    from commonroom.registers.learners.numbers import Numbers

    content = opening.content_of(path)

    async def ask(chosen: Settings, conn: Any) -> Any:
        who = await caller(conn, party, purpose, laestab=pupils.sender_of(content))
        job = await batches.submit(conn, who, content, path.name)
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task(path.name, total=job.records)
            done = await batches.work_off(
                conn, Numbers.of(chosen), who, job.id, lambda count: progress.update(task, completed=count)
            )
        _, result = await batches.result(conn, who, job.id)
        return done, result, await batches.refused(conn, who, job.id, LINES_SHOWN)

    job, result, refused = run(data, ask, new=True)
    if out is not None:
        _write(out, result)
    if as_json:
        print_json({"job": job.id, "state": job.state, "records": job.records, "counts": job.counts})
    else:
        _print_job(job, refused, out)
    if job.state == "failed":
        raise Problem("CR-244", job.reason, where=path.name)
    raise typer.Exit(1 if job.counts.get("RejectedLearnersCount", 0) > _too_young(job) else 0)


def _too_young(job: Any) -> int:
    """Pupils of a school's own file who have no age for a number yet: nobody's fault."""
    return int(job.counts.get(AGE, 0)) if job.form in ("ctf", "census") else 0


def _print_job(job: Any, refused: Sequence[tuple[int, str, str]], out: Path | None) -> None:
    counts, young = job.counts, _too_young(job)
    for remark in job.remarks:
        typer.echo(remark)
    typer.echo(
        f"{job.records:,} records: {counts.get('NewLearnersCount', 0):,} new numbers, "
        f"{counts.get('ExistsUpdatedLearnersCount', 0):,} had one, "
        f"{counts.get('PossibleMatchLearnersCount', 0):,} wait for a clerk, "
        f"{counts.get('RejectedLearnersCount', 0) - young:,} refused"
        + (f", {young:,} are not 13 yet" if young else "")
        + (f"; result in {out}" if out else "")
    )
    print_table(("line", "code", "reason"), [one for one in refused if not young or one[1] != AGE])


def _write(out: Path, content: bytes) -> None:
    """Aside first: a result that is there is whole. Readable by its owner alone."""
    aside = out.with_name(f"{out.name}.new")
    aside.touch(0o600)
    aside.write_bytes(content)
    aside.replace(out)
