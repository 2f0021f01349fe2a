"""The warehouse: every fact once, with its history; every figure defined once.

The loader appends what the hub brings to the fact log (`loader.run`); `open_reader` answers with figures. There is no
other way in or out.
"""

from commonroom.warehouse.heads import Head
from commonroom.warehouse.heads import newest as newest_head
from commonroom.warehouse.measures import compile_ahead as compile_measures
from commonroom.warehouse.measures import load as load_measures
from commonroom.warehouse.model import Measure
from commonroom.warehouse.questions import Figure
from commonroom.warehouse.reader import Lineage, Reader, open_reader

__all__ = [
    "Figure",
    "Head",
    "Lineage",
    "Measure",
    "Reader",
    "compile_measures",
    "load_measures",
    "newest_head",
    "open_reader",
]
