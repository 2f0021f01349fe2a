"""Letters on their way out: their bodies are opened here, after the lease and before anybody gets them.

A body that does not open is never handed out: its letter is undeliverable, the sender is told, and the log says so
loudly. When the master key is missing that is no fault of the letter: everything waits until the key is back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from commonroom import log
from commonroom.hub import mailbox
from commonroom.hub.mailbox import LeasedLetter
from commonroom.hub.master_keys import MasterKeys
from commonroom.problems import Problem

CHANGED = "The stored body is not what was accepted; send it again."

_logger = log.get("hub")


async def open_all(
    connection: Any, master_keys: MasterKeys, letters: Sequence[LeasedLetter], party: str, end_point: str
) -> list[LeasedLetter]:
    """These leased letters with their bodies, without those that do not open.

    Raises Problem CR-149 when a master key is not here, after giving all leases back.
    """
    opened: list[LeasedLetter] = []
    changed: list[LeasedLetter] = []
    try:
        for letter in letters:
            try:
                opened.append(_open(master_keys, letter))
            except Problem as problem:
                if problem.code != "CR-148":
                    raise
                changed.append(letter)
    except Problem:
        await mailbox.release(connection, [str(letter.delivery) for letter in letters], party, end_point)
        raise
    if changed:
        names = [letter.delivery for letter in changed]
        await mailbox.release(connection, [str(name) for name in names], party, end_point)
        await mailbox.undeliverable(connection, names, [CHANGED] * len(names))
        _logger.error(
            "stored bodies were changed",
            problem="CR-148",
            messages=[str(letter.message) for letter in changed],
        )
    return opened


def _open(master_keys: MasterKeys, letter: LeasedLetter) -> LeasedLetter:
    if letter.sealed is None or letter.message is None:
        return letter
    body = master_keys.open(letter.message, letter.sealed)
    return msgspec.structs.replace(letter, body=body, sealed=None)
