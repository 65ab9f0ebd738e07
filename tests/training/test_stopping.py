from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from heartopt.training import SongReady, StepRecord, StoppedEarly
from heartopt.training.stopping import Limits


def test_a_budget_and_an_ask_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Limits().reached() == ""
    assert Limits(deadline=math.inf, stop=lambda: False).reached() == ""
    assert Limits(deadline=-math.inf, stop=lambda: False).reached() == "budget"
    assert Limits(deadline=math.inf, stop=lambda: True).reached() == "stopped"


def test_songs_that_are_encoded_when_it_is_stopped_stay_so(run: Any, tmp_path: Path) -> None:
    ready: list[SongReady] = []

    def stop() -> bool:
        return len(ready) == 2

    with pytest.raises(StoppedEarly, match=r"2 of 4 .* run .* again") as caught:
        run(cache_dir=tmp_path / "cache", progress=ready.append, stop=stop)
    assert caught.value.ended == "stopped"
    assert not (tmp_path / "run/latest.safetensors").exists()
    ready.clear()
    run(cache_dir=tmp_path / "cache", steps=1, progress=ready.append)
    assert [event.encoded for event in ready if isinstance(event, SongReady)] == [False, False, True, True]


def test_the_budget_ends_the_encoding(run: Any, tmp_path: Path) -> None:
    with pytest.raises(StoppedEarly, match="1 of 4") as caught:
        run(cache_dir=tmp_path / "cache", budget=1e-6)
    assert caught.value.ended == "budget"


def test_the_budget_ends_the_training_and_saves(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = Limits.reached
    late = False

    def count(event: object) -> None:
        nonlocal late
        late = isinstance(event, StepRecord)

    def after_the_first_step(self: Limits) -> str:
        assert self.deadline is not None
        return reached(Limits(-math.inf if late else math.inf, self.stop))

    monkeypatch.setattr(Limits, "reached", after_the_first_step)
    result = run(budget=60, progress=count)
    assert (result.ended, result.step) == ("budget", 1)
    assert json.loads((tmp_path / "run/latest.json").read_text())["step"] == 1
