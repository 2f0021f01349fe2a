"""What each process of an installation runs: the entry behind `commonroom run ROOM`.

Each imports what it runs and nothing else: a hub that starts again after a kill is there in half the time.
"""

from __future__ import annotations

from collections.abc import Callable

from commonroom.settings import Settings


def run_hub(settings: Settings) -> None:
    """The post office."""
    from commonroom.hub import server

    server.run(settings)


def run_portal(settings: Settings) -> None:
    """The pages and their interface."""
    from commonroom.portal import server

    server.run(settings)


def run_worker(settings: Settings) -> None:
    """The warehouse's loader, the registers' own work, the returns desk and the recurring jobs."""
    from commonroom import worker

    worker.run(settings)


def run_agents(settings: Settings) -> None:
    """All agents of the data folder, as tasks of one process."""
    from commonroom.agent import runner

    runner.run(sorted(settings.folder("agents").glob("*/agent.yaml")))


ENTRIES: dict[str, Callable[[Settings], None]] = {
    "hub": run_hub,
    "portal": run_portal,
    "worker": run_worker,
    "agents": run_agents,
}
