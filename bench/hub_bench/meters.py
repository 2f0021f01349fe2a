"""What a piece of work cost: wall time, and the CPU of named processes with all their children."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
import psutil


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Of so many messages."""

    messages: int
    seconds: float  # until the last answer
    server_cpu: (
        float  # seconds of all server processes, what they did afterwards because of these messages included
    )
    client_cpu: float  # seconds of the load generator, which shares the machine

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Server CPU per message in milliseconds."""
        return 1000 * self.server_cpu / self.messages

    def __add__(self, other: Cost) -> Cost:
        """One after the other, of the same messages."""
        return Cost(
            messages=self.messages,
            seconds=self.seconds + other.seconds,
            server_cpu=self.server_cpu + other.server_cpu,
            client_cpu=self.client_cpu + other.client_cpu,
        )

    def as_json(self) -> dict[str, float]:
        """Rounded, for the result."""
        return {
            "messages": self.messages,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.rate, 1),
            "server_cpu_ms_per_message": round(self.cpu_ms, 3),
            "client_cpu_ms_per_message": round(1000 * self.client_cpu / self.messages, 3),
        }


def cpu_of(processes: Iterable[int]) -> float:
    """CPU seconds so far of these processes and their children, ended ones included."""
    return sum(_with_children(psutil.Process(pid)) for pid in processes)


def _with_children(process: psutil.Process) -> float:
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            own = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += own.user + own.system
    return float(total)


async def cost_of(
    work: Awaitable[int], processes: Sequence[int], settled: Callable[[], Awaitable[None]] | None = None
) -> Cost:
    """The cost of `work`, which returns how many messages it moved; server CPU counts until `settled` returns."""
    server, client, begun = cpu_of(processes), time.process_time(), time.perf_counter()
    messages = await work
    seconds, client = time.perf_counter() - begun, time.process_time() - client
    if settled is not None:
        await settled()
    return Cost(messages=messages, seconds=seconds, server_cpu=cpu_of(processes) - server, client_cpu=client)


def middle(costs: Sequence[Cost]) -> Cost:
    """The round with the median rate."""
    return sorted(costs, key=lambda cost: cost.rate)[len(costs) // 2]


def percentile(values: Sequence[float], hundredth: int) -> float:
    """Such as 50 or 95."""
    return statistics.quantiles(values, n=100, method="inclusive")[hundredth - 1]


def load_average() -> list[float]:
    """Of the machine: 1, 5 and 15 minutes. Above the number of cores, others had their share of what is measured."""
    return [round(value, 2) for value in psutil.getloadavg()]


def table(rows: Sequence[tuple[Any, ...]]) -> str:
    """Columns side by side."""
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(str(value).ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
