"""Batches: a file of learners becomes a job with progress and a result file. Killed, it goes on where it was."""

from commonroom.registers.learners.batches.jobs import (
    MOST_UNFINISHED,
    READ_AT_ONCE,
    Job,
    get,
    listed,
    refused,
    result,
    submit,
)
from commonroom.registers.learners.batches.working import purge, registration_of, run, work_off, work_once

__all__ = [
    "MOST_UNFINISHED",
    "READ_AT_ONCE",
    "Job",
    "get",
    "listed",
    "purge",
    "refused",
    "registration_of",
    "result",
    "run",
    "submit",
    "work_off",
    "work_once",
]
