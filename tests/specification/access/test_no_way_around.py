"""No way to a table of the warehouse goes round a policy: whoever reads one stands here, with the policy it reads under.

A module that names the files of a table, or reads Parquet, is a reader. One that is not listed fails the test: give it a
policy, ask for the rows through a reader that has one, or say here why it needs none.
"""

from __future__ import annotations

import ast
from pathlib import Path

import commonroom
from commonroom import access

SOURCE = Path(commonroom.__file__).parent
# What reads: the list of a table's files, SQL over them, or Parquet and Delta directly.
READING = {"relation", "files_of", "DeltaTable", "read_parquet", "to_pyarrow_table", "scan_parquet"}
# Reader: the module that asks for the policy's condition, and the policy.
UNDER = {
    "warehouse/history.py": ("warehouse/history.py", "warehouse.facts"),
    "warehouse/record.py": ("warehouse/record.py", "warehouse.record"),
    "warehouse/lineage.py": ("warehouse/reader.py", "figures.lineage"),
    "warehouse/school_numbers.py": ("warehouse/reader.py", "figures"),
    "warehouse/partials.py": ("warehouse/reader.py", "figures"),
    "warehouse/refresh.py": ("warehouse/reader.py", "figures"),
    "warehouse/analytics.py": ("warehouse/reader.py", "figures"),
    "warehouse/stages.py": ("warehouse/reader.py", "figures"),
    "warehouse/own_figures.py": ("warehouse/own_facts.py", "warehouse.own"),
    "warehouse/extracts/cut.py": ("warehouse/extracts/office.py", "extracts"),
}
WITHOUT = {
    "engines/delta.py": "knows files and versions; what a row means is for those who read",
    "engines/places.py": "knows where tables lie; what a row means is for those who read",
    "engines/objects.py": "reads bytes of objects, whatever is in them",
    "engines/object_folder.py": "brings whole files to where readers read them, and looks into none",
    "engines/duck.py": "runs what it is given, over folders it is given",
    "engines/spark.py": "runs what it is given, over files it is given",
    "warehouse/tables.py": "makes the SQL that others run",
    "warehouse/batches.py": "the loader looks up what a letter corrects, and shows it to nobody",
    "warehouse/checks.py": "verify counts faults; no row leaves it",
    "warehouse/commands.py": "status: rows and bytes of files, from the log alone",
    "warehouse/organisations.py": "names and places of schools are the public register's",
    "simulation/reconcile.py": "the demo's proof over invented pupils; a real system has no simulation",
    "collections/csv_in.py": "a module of an uploaded file, not of a table",
}


def readers() -> set[str]:
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", None) or getattr(called, "id", None)
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if name in READING or "read_parquet(" in text:
                found.add(path.relative_to(SOURCE).as_posix())
    return found


def policies_asked_for(module: str) -> set[str]:
    """The datasets whose conditions a module asks for by `access.rows(who, DATASET, ...)`; names from its room."""
    names: dict[str, str] = {}
    for path in (SOURCE / module).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                names |= {
                    f"{path.stem}.{target.id}": node.value.value
                    for target in node.targets
                    if isinstance(target, ast.Name) and isinstance(node.value.value, str)
                }
    tree = ast.parse((SOURCE / module).read_text(encoding="utf-8"))
    stem = Path(module).stem
    here = {
        name.removeprefix(f"{stem}."): value for name, value in names.items() if name.startswith(f"{stem}.")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                known = names.get(f"{node.module.rsplit('.', 1)[-1]}.{alias.name}")
                if known is not None:
                    here[alias.asname or alias.name] = known
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "access.rows":
            asked = node.args[1]
            found.add(asked.value if isinstance(asked, ast.Constant) else here.get(ast.unparse(asked), ""))
    return found


def test_every_reader_of_the_warehouse_is_known() -> None:
    unknown = readers() - set(UNDER) - set(WITHOUT)
    assert not unknown, f"{sorted(unknown)} read tables: name the policy here, or why there is none"


def test_each_reads_under_a_policy_that_is_asked_for() -> None:
    for reader, (gate, dataset) in UNDER.items():
        if not (SOURCE / reader).exists():
            continue
        assert dataset in access.load(), dataset
        assert dataset in policies_asked_for(gate), f"{reader}: {gate} does not ask for {dataset}"


def test_only_the_reader_with_the_policy_opens_the_tables_of_figures() -> None:
    """Outside the warehouse, releases, partial sums and lineage are reached through `reader.Reader` alone."""
    inner = (
        "warehouse.releases",
        "warehouse.school_numbers",
        "warehouse.partials",
        "warehouse.refresh",
        "warehouse.lineage",
        "warehouse.analytics",
        "extracts.cut",
    )
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith("warehouse/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                assert not any(one.endswith(inner) for one in named), (place, named)


def test_a_reader_nobody_listed_would_be_found() -> None:
    assert {"warehouse/history.py", "simulation/reconcile.py", "warehouse/extracts/cut.py"} <= readers()
