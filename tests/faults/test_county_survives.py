"""Whatever process dies, and whenever: the supervisor starts it again and every school still reconciles."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from tests.faults.county import Trial, run_with_kills

RESULTS = Path(__file__).parents[2] / "test-results"


# In one of them a tenth of the pupils' days is corrected, struck out or entered late.
@pytest.mark.parametrize(("seed", "late"), [(1, 0), (2, 10), (3, 0)])
def test_a_county_with_killed_processes_still_reconciles(
    seed: int, late: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with TemporaryDirectory(prefix="commonroom-county-") as folder:
        trial = run_with_kills(seed, Path(folder) / "data", pupils=1_500, days=3, late=late)
    with capsys.disabled():
        print(f"\n{_in_words(trial)}")
    _check(trial)
    if late:
        account = trial.account
        touched = account["corrected"] + account["late"] + account["struck"]
        assert touched > account["marks"] // 2 * late // 100 // 2, "too little was corrected or late"


@pytest.mark.soak
def test_thirty_counties_with_killed_processes_still_reconcile(capsys: pytest.CaptureFixture[str]) -> None:
    trials = []
    for seed in range(101, 131):
        with TemporaryDirectory(prefix="commonroom-county-") as folder:
            trials.append(run_with_kills(seed, Path(folder) / "data", pupils=3_000, days=5, late=10))
        with capsys.disabled():
            print(f"\n{_in_words(trials[-1])}", flush=True)
        _check(trials[-1])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "county_survives.json").write_bytes(msgspec.json.format(msgspec.json.encode(trials)))


def _check(trial: Trial) -> None:
    assert trial.account["differences"] == []
    assert trial.status == 0
    assert trial.account["messages_accepted"] == trial.account["messages_acknowledged"]
    assert trial.account["messages_refused"] == 0
    assert len(trial.kills) >= 4, "too few kills to say anything"
    assert any(kill.letters_in_outboxes + kill.deliveries_unfinished for kill in trial.kills), (
        "nothing was in flight"
    )
    for target in {kill.target for kill in trial.kills}:
        assert trial.account["restarts"][target] >= 1


def _in_words(trial: Trial) -> str:
    kills = ", ".join(
        f"{kill.target} at {kill.seconds} s ({kill.letters_in_outboxes} letters in outboxes, "
        f"{kill.deliveries_unfinished} deliveries unfinished)"
        for kill in trial.kills
    )
    account = trial.account
    return (
        f"seed {trial.seed}: killed {kills}; then {account['pupils']} pupils, {account['marks']} marks, "
        f"{account['messages_accepted']} messages, {len(account['differences'])} differences"
    )
