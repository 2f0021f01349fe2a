"""What the hub counts about itself, for Prometheus. Labels are states, codes and ids of movements, which are
public; never parties, people or types.
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from commonroom.exchange import Receipt
from commonroom.problems import Problem

GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One per hub application, with a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.process = Gauge(
            "hub_process_id",
            "The process that these figures are of: each of several on one port counts for itself",
            registry=self.registry,
        )
        self.process.set(os.getpid())
        self.accepted = self._counter("accepted", "Messages accepted for the first time")
        self.repeated = self._counter("repeated", "Messages sent again and answered with their first receipt")
        self.refused = self._counter("refused_at_accept", "Messages not accepted, by problem code", "code")
        self.leased = self._counter("leased", "Letters handed to recipients, redeliveries included")
        self.settled = self._counter("settled", "Deliveries settled by recipients, by verb", "verb")
        self.expired = self._counter(
            "expired", "Deliveries whose expiry time passed before they were settled"
        )
        self.pushed = self._counter("pushed", "Tries to push a letter, by what came of them", "outcome")
        self.problems = self._counter("problems", "Requests answered with a problem, by code", "code")
        self.waiting = Gauge("hub_waiting_polls", "Long polls that wait for mail", registry=self.registry)
        self.mailboxes_over = Gauge(
            "hub_mailboxes_over_limit",
            "Recipients with more unfinished deliveries than the warning allows",
            registry=self.registry,
        )
        self.mailbox_longest = Gauge(
            "hub_mailbox_longest", "Unfinished deliveries of the recipient with most", registry=self.registry
        )
        self.lateness = Gauge(
            "hub_movement_late_seconds",
            "How late a movement is against its agreed frequency, by its id; 0 is on time",
            ["movement"],
            registry=self.registry,
        )
        self.late_senders = Gauge(
            "hub_movement_late_senders",
            "Senders of a scheduled movement that missed its agreed time, by its id",
            ["movement"],
            registry=self.registry,
        )
        self._group_messages = self._histogram("commit_messages", "Messages in one commit", GROUP_BUCKETS)
        self._group_seconds = self._histogram(
            "commit_seconds", "Seconds that one commit took", SECONDS_BUCKETS
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"hub_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"hub_{name}", text, buckets=buckets, registry=self.registry)

    @contextmanager
    def group(self, messages: int) -> Iterator[None]:
        """Time one commit of so many messages."""
        self._group_messages.observe(messages)
        with self._group_seconds.time():
            yield

    def count(self, outcomes: Iterable[Receipt | Problem]) -> None:
        """Count what became of submitted messages."""
        tally = Tally(_what(outcome) for outcome in outcomes)
        for what, number in tally.items():
            if what == "accepted":
                self.accepted.inc(number)
            elif what == "repeated":
                self.repeated.inc(number)
            else:
                self.refused.labels(what).inc(number)

    def page(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self.registry)


def _what(outcome: Receipt | Problem) -> str:
    if isinstance(outcome, Problem):
        return outcome.code
    return "repeated" if outcome.repeated else "accepted"
