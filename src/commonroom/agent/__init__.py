"""The agent of an end point: notices changes in a school system, sends them through a hub, loads what is received.

Installed alone in a school, so nothing here may need a database server or a web framework.
"""

from commonroom.agent.config import Config
from commonroom.agent.config import load as load_config
from commonroom.agent.findings import Finding
from commonroom.agent.look import Looker, Outcome
from commonroom.agent.mapping import SourceMapping, StoreMapping, load_source, load_store
from commonroom.agent.memory import Memory
from commonroom.agent.runner import run
from commonroom.agent.status import Status

__all__ = [
    "Config",
    "Finding",
    "Looker",
    "Memory",
    "Outcome",
    "SourceMapping",
    "Status",
    "StoreMapping",
    "load_config",
    "load_source",
    "load_store",
    "run",
]
