"""The demo: the supervisor, an invented county and its agents, in one command."""

from commonroom.demo.plan import Plan
from commonroom.demo.runs import run_headless, run_watched

__all__ = ["Plan", "run_headless", "run_watched"]
