"""The shapes of map.yaml: how the modules of a collection stand in XML and CSV files. Reads nothing itself."""

from __future__ import annotations

import msgspec


class CsvModule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A module in a CSV file of its own. `key` names its rows, `parent_key` its parent's rows: headings.

    Where the parent has several files, `parent_key` is the `key` of the one that is meant.
    """

    # Its name without `.csv`; a name that ends in `_` and this will do.
    file: str
    key: str = "id"
    parent_key: str = "parent"
    # Heading -> item, where they differ.
    columns: dict[str, str] = {}
    # Item -> value of all rows of this file.
    set: dict[str, str] = {}


class Flat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One CSV file with a row for each record: heading -> `Module.Item`."""

    columns: dict[str, str]


class CsvMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the collection stands in CSV: one file a module, or one flat file, or either."""

    # One file, or several that hold rows of the same module.
    modules: dict[str, CsvModule | tuple[CsvModule, ...]] = {}
    flat: Flat | None = None
    # Items of modules that no file carries, such as the header's: `Module.Item` -> value.
    constants: dict[str, str] = {}
    # How dates are written, such as `%d/%m/%Y`, one way or several; CCYY-MM-DD is always understood.
    dates: str | tuple[str, ...] = ()
    # True where programs write whole numbers as `134.0`.
    decimal_integers: bool = False
    # Headings, and names of files, that are known and carry no item; `*` stands for any letters.
    ignore: tuple[str, ...] = ()

    def files_of(self, module: str) -> tuple[CsvModule, ...]:
        """The files of a module; without a declaration one of its name."""
        declared = self.modules.get(module) or CsvModule(file=module)
        return declared if isinstance(declared, tuple) else (declared,)


class FileMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the modules stand in files: map.yaml. What a module says of its own path counts first."""

    root: str = "Message"
    namespace: str = ""
    # Module -> path, for modules that name none.
    paths: dict[str, str] = {}
    csv: CsvMap | None = None


class FileName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a file is called: groups of the pattern that are items of the module Header say what the header says."""

    pattern: str
    # The form in words, such as `LLLEEEE_CTF_LLLEEEE_nnn.xml`.
    form: str
