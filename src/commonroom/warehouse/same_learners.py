"""Which of our keys turned out to be one learner's: what was sent under a pupil's former UPN is that learner's too.

The fact log keeps the key that a UPN had when it came. Whom it stands for, the learner register says: as known now, also
of figures as known at an earlier time. Measures that take nothing from elsewhere do not ask.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from commonroom.engines import learner_keys


class Same(msgspec.Struct, frozen=True):
    """Keys that stand for another one now, with that one."""

    digest: str = ""  # another one whenever anything of it is
    pairs: tuple[tuple[str, str], ...] = ()

    def table(self) -> Any:
        """The same as the compiled measure joins to it."""
        return pa.table(
            {
                "same": pa.array([key for key, _ in self.pairs], pa.string()),
                "person": pa.array([person for _, person in self.pairs], pa.string()),
            }
        )


NOBODY = Same()


class SameLearners:
    """What a process knows of them: read again when it changed."""

    def __init__(self) -> None:
        self._known = NOBODY

    async def now(self, connection: Any) -> Same:
        """As the register has them now."""
        digest = await learner_keys.digest_of_same(connection)
        known = self._known
        if known.digest != digest:
            pairs = await learner_keys.same_learners(connection)
            known = self._known = Same(digest, tuple((str(key), str(person)) for key, person in pairs))
        return known
