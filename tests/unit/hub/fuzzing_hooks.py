"""What the fuzzer is told before each request, so that it gets beyond the door and does not wait there.

Every other message has a source and a type that may travel; a poll that nothing will answer waits no 60 seconds.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import schemathesis

LONGEST_WAIT = 0.05
SOURCE, TYPE = os.environ["FUZZ_SOURCE"], os.environ["FUZZ_TYPE"]

_turns = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Change a case; what makes no sense stays as it was made."""
    if case.operation.path == "/messages" and (turn := next(_turns)) % 2:
        case.headers = {
            name: value for name, value in case.headers.items() if turn % 4 == 1 and name != "ce-signature"
        }
        case.headers |= {"ce-id": str(turn), "ce-source": SOURCE, "ce-type": TYPE, "ce-specversion": "1.0"}
    try:
        wait = float(case.query["wait"])
    except (KeyError, TypeError, ValueError):
        return
    if LONGEST_WAIT < wait <= 60:
        case.query["wait"] = str(LONGEST_WAIT)
