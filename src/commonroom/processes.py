"""What each process of an installation runs: the entry behind `commonroom run ROOM`.

Each imports what it runs and nothing else: a hub that starts again after a kill is there in half the time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from commonroom.settings import Settings


@contextmanager
def _importing() -> Iterator[None]:
    """Modules stay for good: to look through them for garbage while they come is a fifth of a start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def run_hub(settings: Settings) -> None:
    """The post office."""
    with _importing():
        from commonroom.hub import server

    server.run(settings)


def run_portal(settings: Settings) -> None:
    """The pages and their interface."""
    with _importing():
        from commonroom.portal import server

    server.run(settings)


def run_worker(settings: Settings) -> None:
    """The warehouse's loader, the registers' own work, the returns desk and the recurring jobs."""
    with _importing():
        from commonroom import worker

    worker.run(settings)


def run_agents(settings: Settings) -> None:
    """All agents of the data folder, as tasks of one process."""
    with _importing():
        from commonroom.agent import runner

    runner.run(sorted(settings.folder("agents").glob("*/agent.yaml")))


ENTRIES: dict[str, Callable[[Settings], None]] = {
    "hub": run_hub,
    "portal": run_portal,
    "worker": run_worker,
    "agents": run_agents,
}
