"""The tables of the optimize benchmark: shares, verdicts and what is missing, from rows with known answers."""

from __future__ import annotations

import csv
import importlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from heartopt.errors import ConfigError

ROOT = Path(__file__).parents[2]
SEEDS = [101, 102]
RECIPE: dict[str, Any] = {
    "name": "optimize",
    "suite": "../suites/optimize.yaml",
    "seeds": SEEDS,
    "systems": {
        "draft": {"preset": "draft"},
        "standard": {"preset": "standard"},
        "best": {"preset": "best"},
        "flow from zero": {"init": ["random"], "steps": 24},
    },
    "ablation_excerpts": 4,
    "ablation_seconds": 7.44,
    "ablations": {"flow": {"base": {"steps": 40}, "gumbel": {"quantizer": "gumbel"}, "moves": {"moves": 1}}},
}
MACHINE = {"processor": "x86_64", "cores": 2, "torch_threads": 1, "torch": "2", "python": "3", "heartopt": "0"}
EXCERPTS = ("castle", "nature", "nebula", "suspense")
#: STFT, mel and seconds; an excerpt adds its number to the first.
LEVELS = {
    "projection": (1.8, 0.4, 1.0),
    "oracle": (2.0, 0.5, 1.0),
    "scalar_roundtrip": (1.0, 0.3, 2.0),
    "random_codes": (3.0, 0.7, 0.1),
    "another_song": (4.0, 0.9, 0.1),
    "noise": (2.5, 0.5, 0.1),
    "silence": (5.0, 4.8, 0.1),
    "draft": (1.6, 0.38, 20.0),
    "standard": (1.25, 0.36, 100.0),
    "best": (1.2, 0.32, 200.0),
    "flow from zero": (2.1, 0.42, 25.0),
    "report": (2.2, 0.6, 1000.0),
    "report, rounded in the loop": (2.1, 0.55, 1000.0),
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("optimize_table")


def row(system: str, excerpt: str, stft: float, mel: float, wall: float, **more: Any) -> dict[str, Any]:
    """A row whose seeds lie 0.01 on either side of the metrics."""
    scores = [
        {"seed": seed, "stft": stft + off, "mel": mel + off, "shimmer_db": -5.0}
        for seed, off in zip(SEEDS, (-0.01, 0.01), strict=True)
    ]
    settings = RECIPE["systems"].get(system, {})
    known = {"excerpt": excerpt, "system": system, "group": None, "settings": settings, "audio_seconds": 10.0}
    return {**known, "wall": wall, "scores": scores, "machine": MACHINE, **more}


def full(systems: Iterable[str] = LEVELS, excerpts: Iterable[str] = EXCERPTS) -> list[dict[str, Any]]:
    rows = []
    for system in systems:
        stft, mel, wall = LEVELS[system]
        rows += [row(system, name, stft + 0.1 * EXCERPTS.index(name), mel, wall) for name in excerpts]
    return rows


def ablation(system: str, values: Iterable[float], wall: float = 10.0) -> list[dict[str, Any]]:
    entries = RECIPE["ablations"]["flow"]
    more = {"group": "flow", "settings": {**entries["base"], **entries[system]}, "audio_seconds": 7.44}
    return [row(system, name, value, 0.4, wall, **more) for name, value in zip(EXCERPTS, values, strict=False)]


def line_of(text: str, start: str) -> str:
    found = [line for line in text.splitlines() if line.startswith(start)]
    assert len(found) == 1, (start, found)
    return found[0]


def test_the_benchmark_calls_its_systems_by_the_same_names(table: Any) -> None:
    optimize = importlib.import_module("optimize")
    assert set(table.Results(RECIPE, []).systems) == {
        *optimize.SHARED,
        *RECIPE["systems"],
        optimize.REPORT,
        optimize.REPORT_IN_LOOP,
    }


def test_a_share_is_the_ratio_of_mean_differences_over_common_excerpts(table: Any) -> None:
    start, end = {"a": 2.0, "b": 4.0, "c": 9.0}, {"b": 1.0, "a": 1.0, "c": 1.0}
    found = table.share({"a": 1.5, "b": 1.0, "d": 7.0}, start, end)
    assert (found.mean, found.count) == (pytest.approx((0.5 + 3) / (1 + 3)), 2)
    assert found.low == pytest.approx(0.5)  # only a is drawn
    assert found.high == pytest.approx(1.0)  # only b is drawn
    assert math.isnan(table.share({"a": 1.0}, {"a": 1.0}, {"a": 1.0}).mean)
    alone = table.share({"a": 1.5}, start, end)
    assert alone.mean == pytest.approx(0.5)
    assert math.isnan(alone.low)


def test_an_interval_of_a_few_excerpts_is_students(table: Any) -> None:
    found = table.t_interval([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5
    assert found.high - found.mean == pytest.approx(3.182 * math.sqrt(5 / 3) / 2)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_the_main_table_has_means_tiers_paces_and_shares(table: Any) -> None:
    text = table.page(RECIPE, full())
    cells = [cell.strip() for cell in line_of(text, "| standard |").split("|")[1:-1]]
    assert cells[1] == "4"
    assert cells[2].startswith("1.400 [1.300, 1.5")  # the interval's ends are draws' means
    assert cells[3] == "0.360 [0.360, 0.360]"
    assert cells[4:] == ["-5.00", "Good", "10.0", "75.0 % [75.0, 75.0]", "70.0 % [70.0, 70.0]"]
    assert "–" in line_of(text, "| (d) oracle |")
    assert line_of(text, "| control: silence | 4 |")
    assert "not run" not in text.split("## Ablations")[0]


def test_goals_are_met_or_missed_by_what_is_measured(table: Any) -> None:
    goals = list(table.goals(table.Results(RECIPE, full())))
    assert len(goals) == 10
    assert f"{100 * (1 - 1.4 / 2.35):.1f} %" in goals[0]
    assert goals[0].startswith("`standard` at least 20 % below (a) in STFT")
    assert "**met**" in goals[0]
    assert "40.0 % [40.0, 40.0] (`standard` 0.360, `report` 0.600, n 4): **met**" in goals[1]
    assert "-0.750 [-0.750, -0.750] (`standard` 1.400, `oracle` 2.150, n 4): **met**" in goals[2]
    assert "75.0 %" in goals[4]
    assert "**met**" in goals[4]
    assert "80.0 %" in goals[6]
    assert "**missed by 5.0 points**" in goals[6]
    assert "90.0 %" in goals[7]
    assert "**met**" in goals[7]
    assert "1,000 times as fast in the median, 1,000 in the worst case: **met on every excerpt**" in goals[8]
    assert "at or below it on 4 of 4 excerpts (mean -0.100, worst -0.100)" in goals[9]
    assert "40.0 times as fast" in goals[9]
    assert "**missed by a factor of 1.25 in median time**; not on 4 of 4" in goals[9]


def test_goals_that_standard_misses_say_by_how_much(table: Any) -> None:
    rows = [one for one in full() if one["system"] != "standard"]
    rows += [row("standard", name, 2.1 + 0.1 * n, 0.51, 100.0) for n, name in enumerate(EXCERPTS)]
    goals = list(table.goals(table.Results(RECIPE, rows)))
    assert f"**missed by {100 * (0.2 - (1 - 2.25 / 2.35)):.1f} points**" in goals[0]
    assert "15.0 %" in goals[1]
    assert "**missed by 5.0 points**" in goals[1]
    assert "**missed by 0.100**" in goals[2]
    assert "**missed by 0.010**" in goals[3]
    assert "-10.0 %" in goals[4]
    assert "**missed by 80.0 points**" in goals[4]


def test_speed_names_the_excerpts_where_it_falls_short(table: Any) -> None:
    rows = [one for one in full() if one["system"] != "projection"]
    late = {"nature": 2.4}  # the report's way: 2.3 there
    rows += [row("projection", name, late.get(name, 1.8), 0.4, 1.0) for name in EXCERPTS]
    text = table.page(RECIPE, rows)
    goal = line_of(text, "- `projection` reaches")
    assert "on 3 of 4 excerpts (mean -0.400, worst +0.100)" in goal
    assert "**met in the mean**; not on 1 of 4 excerpts (nature)" in goal
    speeds = text.split("## Goals")[1]
    assert line_of(speeds, "| nature | 2.300 | 1,000 |").startswith("| nature | 2.300 | 1,000 | 2.400 | no | 1,000 |")


def test_each_excerpt_has_its_share_and_the_worse_ones_are_named(table: Any) -> None:
    rows = [one for one in full() if one["system"] != "best"]
    rows += [row("best", name, 1.9 if name == "castle" else 1.4, 0.35, 200.0) for name in EXCERPTS]
    text = table.page(RECIPE, rows).split("## Each excerpt")[1]
    cells = [cell.strip() for cell in line_of(text, "| castle |").split("|")[1:-1]]
    assert cells == ["castle", "1.800", "1.250", "1.900", "1.000", "68.8 %", "40.0 %", "-12.5 %", "50.0 %"]
    assert "`best`, STFT: below zero on 1 of 4 (castle)." in text
    assert "`standard`, STFT: below zero on 0 of 4." in text
    assert "68.8 % [68.8, 68.8]" in line_of(text, "| **all** |")


def test_ablations_are_paired_with_their_base(table: Any) -> None:
    rows = full()
    rows += ablation("base", (1.0, 2.0, 3.0)) + ablation("gumbel", (1.1, 2.1, 3.1, 9.0), wall=15.0)
    text = table.page(RECIPE, rows).split("## Ablations")[1]
    assert text.index("| base | 3 |") < text.index("| gumbel | 4 |") < text.index("| moves | not run |")
    cells = [cell.strip() for cell in line_of(text, "| gumbel |").split("|")[1:-1]]
    assert cells[2] == f"{(1.1 + 2.1 + 3.1 + 9.0) / 4:.3f}"
    assert cells[4] == "+0.100 [+0.100, +0.100] (n 3)"
    assert cells[6] == "1.50"
    assert "mel: `gumbel`" in text  # its difference is 0
    assert "STFT: `gumbel`" not in text


def test_missing_systems_are_said_to_be(table: Any) -> None:
    text = table.page(RECIPE, full(("projection", "oracle", "scalar_roundtrip", "standard")))
    assert line_of(text, "| best |").startswith("| best | not run | – |")
    assert "in STFT: cannot be said, `best` was not run." in line_of(
        text, "- `best` closes at least 85 % of the way from (d) to (e) in STFT"
    )
    assert "cannot be said, `report` was not run" in line_of(text, "- `projection` reaches")
    assert "The report's way was not run" in text
    alone = table.page(RECIPE, full(("projection",)))
    assert alone.count("cannot be said") == 10


def test_systems_without_a_common_excerpt_cannot_be_compared(table: Any) -> None:
    rows = full(("standard",), ("castle",)) + full(("oracle", "scalar_roundtrip"), ("nature",))
    text = table.page(RECIPE, rows)
    assert "cannot be said, no excerpt has all that it needs" in line_of(
        text, "- `standard` below (d), the withheld encoder, in STFT"
    )


def test_one_excerpt_has_no_intervals(table: Any, tmp_path: Path) -> None:
    rows = full(excerpts=("castle",)) + ablation("base", (1.0,)) + ablation("gumbel", (1.5,))
    table.write_tables(RECIPE, rows, tmp_path)
    text = (tmp_path / "optimize.md").read_text(encoding="utf-8")
    assert "1 excerpt of 10 s" in text
    assert "| standard | 1 | 1.250 | 0.360 |" in text
    assert "| +0.500 | +0.000 |" in line_of(text, "| gumbel |")
    assert "nan" not in text


def test_fewer_excerpts_and_strangers_are_marked(table: Any) -> None:
    rows = full(("oracle", "scalar_roundtrip")) + full(("standard",), EXCERPTS[:2])
    rows += [row("other", "castle", 1.0, 0.3, 1.0), row("best", "castle", 1.0, 0.3, 1.0, settings={"preset": "old"})]
    text = table.page(RECIPE, rows)
    assert "not in the recipe, so not below: `other`." in text
    assert "than the recipe's: `best`.**" in text
    assert "Means of different n" in text
    kept = table.page(RECIPE, full())
    assert "the recipe's" not in kept
    assert "Means of different n" not in kept


def test_a_value_that_is_no_number_is_not_counted(table: Any) -> None:
    rows = full()
    silent = next(one for one in rows if one["system"] == "standard")
    silent["scores"] = [{**entry, "stft": None} for entry in silent["scores"]]
    found = table.Results(RECIPE, rows).share("standard", "oracle", "stft")
    assert found.count == 3
    assert "(n 3)" in line_of(table.page(RECIPE, rows), "| standard |")


def test_the_files_follow_from_the_rows(table: Any, tmp_path: Path) -> None:
    steps = [{"step": step, "wall": 10.0 * step, "scores": [{"seed": 101, "stft": 3.0, "mel": 0.9, "shimmer_db": 0.0}]}
             for step in (10, 50)]  # fmt: skip
    rows = full()
    for one in rows:
        if one["system"] == "report":
            one["points"] = steps if one["excerpt"] in EXCERPTS[:2] else []
    table.write_tables(RECIPE, rows, tmp_path / "one")
    table.write_tables(RECIPE, rows[::-1], tmp_path / "two")
    text = (tmp_path / "one" / "optimize.md").read_text(encoding="utf-8")
    assert text == (tmp_path / "two" / "optimize.md").read_text(encoding="utf-8")
    record = json.loads((tmp_path / "one" / "optimize.json").read_text(encoding="utf-8"))
    assert text == table.page(record["recipe"], record["rows"])
    assert "Means over the 2 excerpts that everything drawn here has" in text
    assert len(record["rows"]) == len(rows)
    lines = list(csv.DictReader((tmp_path / "one" / "optimize.csv").open(encoding="utf-8")))
    first = next(line for line in lines if line["system"] == "standard")
    assert (first["seeds"], first["stft_mean"]) == ("2", "1.25000")
    assert float(first["stft_sd"]) == pytest.approx(0.01 * math.sqrt(2), abs=1e-5)
    for picture in ("optimize_time.png", "optimize_excerpts.png"):
        assert picture in text
        assert (tmp_path / "one" / picture).read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_time_keeps_to_excerpts_that_all_have(table: Any) -> None:
    rows = full(("report", "projection", "oracle")) + full(("standard",), EXCERPTS[2:])
    picture = table.time_picture(table.Results(RECIPE, rows))
    assert picture.excerpts == 2
    assert picture.systems["standard"].stft == pytest.approx(1.5)
    assert picture.systems["report"].pace == pytest.approx(100.0)
    assert list(picture.lines) == ["oracle"]


def test_floats_keep_six_digits(table: Any) -> None:
    assert table.rounded({"a": [1.23456789, 1234567.8, "x", None, 3, True]}) == {
        "a": [1.23457, 1234570.0, "x", None, 3, True]
    }


def test_no_rows_are_an_error(table: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished rows"):
        table.write_tables(RECIPE, [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_committed_page_follows_from_its_rows(table: Any) -> None:
    source = ROOT / "reports" / "optimize.json"
    if not source.is_file():
        pytest.skip("reports/optimize.json is not there yet")
    record = json.loads(source.read_text(encoding="utf-8"))
    page = source.with_suffix(".md").read_text(encoding="utf-8")
    assert page == table.page(record["recipe"], record["rows"])
