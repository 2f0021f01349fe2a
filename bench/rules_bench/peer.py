"""Runs the public validator of the children in need census over one file, in its own Python, and prints its cost as JSON.

Started by bench/rules.py as `PYTHON peer.py FILE RULESET`; it uses only what that validator's own command uses.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import xml.etree.ElementTree as ET

file, ruleset = sys.argv[1:3]
from cin_validator.cin_validator import CinValidator, convert_data, process_data  # noqa: E402

rules = importlib.import_module(f"cin_validator.rules.{ruleset}")
registry = getattr(rules, "registry", None)
if registry is None:
    from cin_validator.rule_engine import registry
began = time.process_time()
tables = process_data(convert_data(ET.parse(file).getroot()))  # noqa: S314 - our own file, as its own command reads it
read = time.process_time()
validator = CinValidator(tables, registry)
done = time.process_time()
print(
    json.dumps(
        {
            "read": read - began,
            "judge": done - read,
            "cpu": done - began,
            "found": len(validator.full_issue_df),
        }
    )
)
