"""The recipes, their judging and their table; training on the tiny codec for two steps."""

from __future__ import annotations

import csv
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

from heartopt.codec import HeartCodec
from heartopt.errors import CheckpointError, ConfigError
from heartopt.projection import EncoderProjection, load_projection
from heartopt.tokens import load_tokens
from heartopt.training import train

ROOT = Path(__file__).parents[2]
CODEC = ROOT / "tests" / "data" / "codec"
SHIPPED = ROOT / "benchmarks" / "recipes" / "train.yaml"
RATE = 48_000


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny codec decodes in windows of a quarter of the release's."""
    monkeypatch.setattr("heartopt.codec.model.RELEASE_DURATION", 7.44)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("train_recipes")


@pytest.fixture
def judge(script: Any) -> Any:
    return importlib.import_module("train_recipes_judge")


@pytest.fixture
def table(script: Any) -> Any:
    return importlib.import_module("train_recipes_table")


@pytest.fixture(scope="module")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained(CODEC)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train/` with two songs, `dev/` with one of 2 s, `test/` with two of 1 s."""
    folder = tmp_path_factory.mktemp("corpora")
    names = {"train/a.wav": 1.6, "train/deep/b.wav": 1.2, "dev/c.wav": 2.0, "test/d.wav": 1.0, "test/e.wav": 1.0}
    for seed, (name, seconds) in enumerate(names.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.2 * np.random.default_rng(seed).standard_normal((round(seconds * RATE), 2))
        soundfile.write(path, noise.clip(-1, 1), RATE)
    return folder


@pytest.fixture
def recipes(tmp_path: Path, corpora: Path) -> Path:
    suite = {"name": "tiny", "seeds": [1], "songs": [{"file": str(corpora / "test" / f"{n}.wav")} for n in "de"]}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    base = {"objective": "flow", "projection_type": "linear", "hidden_dim": 16, "batch_size": 2, "max_duration": 0.48}
    record = {
        "name": "small",
        "about": "Two recipes.",
        "base": {**base, "steps": 2},
        "seeds": [0, 1],
        "judge": {"suite": "suite.yaml", "metrics": ["stft", "mel"], "held_out_seconds": 0.96, "held_out_crops": 2},
        "recipes": {"default": {}, "conv1d": {"projection_type": "conv1d"}},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(record, sort_keys=False))
    return path


def arguments(recipes: Path, corpora: Path, tmp_path: Path, *more: str) -> list[str]:
    shared = ["--cache-dir", str(corpora / "cache"), "--codec", str(CODEC), "--threads", "1"]
    return ["run", str(recipes), "--corpora", str(corpora), "--output", str(tmp_path / "out"), *shared, *more]


def test_the_shipped_recipes_vary_one_factor_and_train_knows_it(script: Any) -> None:
    shipped = script.read_recipes(SHIPPED)
    names = list(shipped.changes)
    assert names[0] == "default" and shipped.changes["default"] == {}
    assert shipped.suite.is_file() and len(shipped.seeds) == 3
    known = inspect.signature(train).parameters
    for name in names:
        assert set(shipped.settings(name)) <= set(known)
        changed = shipped.changes[name]
        if "max_duration" in changed:  # where the objective asks for another crop, a recipe has that crop alone
            assert {"max_duration": changed["max_duration"]} in shipped.changes.values()
        assert name == "default" or len(changed) == 1 or len(changed.keys() - {"max_duration"}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipes": {str(n): {} for n in range(9)}}, "9 recipes; give 1 to 8"),
        ({"extra": 1}, "needs exactly the keys about, base, judge"),
        ({"judge": {"suite": "x"}}, "judge needs exactly the keys held_out_crops"),
    ],
)
def test_damaged_recipes_are_refused(change: dict[str, Any], message: str, script: Any, recipes: Path) -> None:
    recipes.write_text(yaml.safe_dump(yaml.safe_load(recipes.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        script.read_recipes(recipes)


def test_runs_are_made_seed_by_seed_once_and_summed_up(
    script: Any, recipes: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(arguments(recipes, corpora, tmp_path)) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.endswith(": done")]
    assert [line.split(":")[0] for line in lines] == [
        "default, seed 0", "conv1d, seed 0", "default, seed 1", "conv1d, seed 1",
    ]  # fmt: skip
    result = json.loads((tmp_path / "out" / "conv1d" / "seed1" / "result.json").read_text())
    assert (result["trained"], result["settings"]["projection_type"]) == (2, "conv1d")
    assert {row["file"] for row in result["rows"]} == {str(corpora / "test" / f"{n}.wav") for n in "de"}
    assert script.main(arguments(recipes, corpora, tmp_path, "--only", "default")) == 0
    assert capsys.readouterr().err.count("was done already") == 2

    report = tmp_path / "reports"
    summarize = ["summarize", str(recipes), "--output", str(tmp_path / "out"), "--report", str(report)]
    assert script.main(summarize) == 0
    record = json.loads((report / "small.json").read_text())
    assert [entry["recipe"] for entry in record["recipes"]] == ["default", "conv1d"]
    stft = [row["stft"] for row in record["rows"] if row["recipe"] == "conv1d"]
    assert len(stft) == 4
    assert record["recipes"][1]["stft"]["mean"] == pytest.approx(np.mean(stft))
    assert record["recipes"][1]["stft"]["low"] <= np.mean(stft) <= record["recipes"][1]["stft"]["high"]
    assert {entry["system"] for entry in record["baselines"]} >= {"scalar_roundtrip", "noise", "random_codes"}
    with (report / "small.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8 + 2 * len(record["baselines"])
    text = (report / "small.md").read_text()
    assert "| conv1d | projection_type conv1d | 0.48 | 2 |" in text
    assert "| control: random_codes |" in text


def test_finished_runs_of_other_settings_are_not_taken_for_these(
    script: Any, recipes: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ("--only", "default", "--seeds", "0")
    assert script.main(arguments(recipes, corpora, tmp_path, *only)) == 0
    record = yaml.safe_load(recipes.read_text())
    record["base"]["steps"] = 3
    recipes.write_text(yaml.safe_dump(record, sort_keys=False))
    assert script.main(arguments(recipes, corpora, tmp_path, *only)) == 1
    assert "made with other settings" in capsys.readouterr().err
    assert script.main(arguments(recipes, corpora, tmp_path, "--only", "none")) == 1
    assert "recipe none: choose from default, conv1d" in capsys.readouterr().err


def test_what_fails_does_not_stop_the_others(
    script: Any, recipes: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = yaml.safe_load(recipes.read_text())
    record["recipes"] = {"broken": {"projection_type": "none"}, "fine": {}}
    recipes.write_text(yaml.safe_dump(record, sort_keys=False))
    assert script.main(arguments(recipes, corpora, tmp_path, "--seeds", "0")) == 1
    errors = capsys.readouterr().err
    assert "error: broken, seed 0: " in errors and "fine, seed 0: done" in errors


def test_the_teachers_tokens_lie_like_the_songs(
    script: Any, codec: HeartCodec, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def encoder(audio: torch.Tensor, codec: HeartCodec) -> torch.Tensor:
        calls.append(audio.shape[-1])
        return torch.full((codec.config.num_quantizers, -(-audio.shape[-1] // 3840)), len(calls))

    monkeypatch.setattr(script, "oracle_codes", encoder)
    for _ in range(2):
        assert script.make_teacher(corpora / "train", tmp_path / "tokens", codec) == tmp_path / "tokens"
    assert calls == [round(1.6 * RATE), round(1.2 * RATE)]
    sizes = {"num_quantizers": codec.config.num_quantizers, "codebook_size": codec.config.codebook_size}
    found = load_tokens(tmp_path / "tokens" / "deep" / "b.tokens.npy", **sizes)
    assert found.tokens.shape == (codec.config.num_quantizers, 15) and int(found.tokens[0, 0]) == 2
    assert found.info is not None
    assert (found.info.fingerprint, found.info.seconds) == (codec.fingerprint(), pytest.approx(1.2))


def test_the_held_out_loss_is_the_trainings_own(judge: Any, codec: HeartCodec, corpora: Path, tmp_path: Path) -> None:
    result = train(
        data_dir=corpora / "train",
        val_dir=corpora / "dev",
        output_dir=tmp_path / "run",
        codec=codec,
        projection_type="linear",
        hidden_dim=16,
        batch_size=2,
        max_duration=0.96,
        steps=2,
        val_crops=2,
        num_val_samples=0,
        cache_dir=tmp_path / "cache",
    )
    held_out = judge.HeldOutFlow(corpora / "dev", codec, seconds=0.96, count=2, cache=tmp_path / "cache")
    best = load_projection(result.projection)
    assert held_out.of_projection(best) == pytest.approx(result.best_flow, rel=1e-5)
    last = judge.last_projection(tmp_path / "run", codec)
    assert held_out.of_projection(last) == pytest.approx(result.validations[-1].flow, rel=1e-5)
    assert held_out.of_random_codes() != held_out.of_projection(last)
    with pytest.raises(ConfigError, match="leave latent_dim alone"):
        held_out.of_projection(EncoderProjection(128, codec.config.dim, 16))
    with pytest.raises(CheckpointError):
        judge.last_projection(tmp_path / "none", codec)


def test_intervals_draw_songs_and_seeds_not_their_product(table: Any) -> None:
    seeds_alike = np.repeat([[1.0], [2.0], [3.0], [4.0]], 3, axis=1)
    one_seed = table.interval(seeds_alike[:, :1])
    three = table.interval(seeds_alike)
    assert (three["mean"], three["songs"], three["seeds"]) == (2.5, 4, 3)
    # Three equal seeds are no more than one: pooled, the interval would be narrower by the root of three.
    assert three["high"] - three["low"] == pytest.approx(one_seed["high"] - one_seed["low"], rel=0.15)
    songs_alike = seeds_alike.T.copy()
    assert table.interval(songs_alike)["low"] < 2 < table.interval(songs_alike)["high"]
    constant = table.interval(np.full((3, 2), 7.0))
    assert (constant["mean"], constant["low"], constant["high"]) == (7.0, 7.0, 7.0)
    holes = np.array([[1.0, np.nan], [3.0, 5.0], [4.0, 4.0]])
    assert (table.interval(holes)["mean"], table.interval(holes)["songs"]) == (4.0, 2)


def run_of(recipe: str, seed: int, stft: list[float], **settings: Any) -> dict[str, Any]:
    rows = [{"file": f"{n}.flac", "system": "projection", "stft": v, "mel": v / 5} for n, v in enumerate(stft)]
    shown = {"objective": "flow", **settings}
    timed = {"step_seconds": 1.0, "flow": 0.2, "machine": {"cores": 2}}
    return {"recipe": recipe, "seed": seed, "settings": shown, "rows": rows, **timed}


def test_the_table_says_what_is_best_and_how_bypass_does(script: Any, table: Any, recipes: Path) -> None:
    record = yaml.safe_load(recipes.read_text())
    record["recipes"] = {
        "default": {},
        "bypass": {"objective": "bypass", "max_duration": 1.04},
        "gumbel": {"quantizer": "gumbel"},
        "short": {"max_duration": 1.04},
    }
    recipes.write_text(yaml.safe_dump(record, sort_keys=False))
    runs = [
        run_of("default", 0, [1.8, 2.0, 1.9]),
        run_of("default", 1, [1.9, 2.1, 2.0]),
        run_of("short", 0, [2.3, 2.4, 2.5]),
        run_of("short", 1, [2.4, 2.5, 2.6]),
        run_of("bypass", 0, [2.5, 2.6, 2.7], objective="bypass"),
        run_of("bypass", 1, [2.6, 2.7, 2.8], objective="bypass"),
        run_of("gumbel", 1, [1.8, 2.0, 1.9]),
    ]
    baselines = {
        "rows": [{"file": f"{n}.flac", "system": "silence", "stft": 5.0, "mel": 4.0} for n in range(3)],
        "flows": {},
        "judging": {"suite": "tiny", "judge_seeds": [1]},
    }
    found = table.tabulate(script.read_recipes(recipes), runs, baselines, command="run it")
    bypass = found["recipes"][1]["differences"]["stft"]
    assert bypass["mean"] == pytest.approx(np.mean([0.7, 0.6, 0.8]))
    # gumbel has seed 1 alone: it is held against the default's seed 1, not against its mean.
    assert found["recipes"][2]["differences"]["stft"]["mean"] == pytest.approx(-0.1)
    # bypass is also held against the recipe that changes its crop alone.
    assert found["recipes"][1]["same_crop"] == "short"
    assert found["recipes"][1]["same_crop_differences"]["stft"]["mean"] == pytest.approx(0.2)
    assert [entry["same_crop"] for entry in found["recipes"]] == [None, "short", None, None]
    said = "\n".join(table.verdicts(found))
    assert "Lowest `stft`: **gumbel**, 1.900." in said
    assert "`gumbel` is better than `default` (stft -0.100" in said
    assert "`bypass` is worse than `default` (stft +0.700" in said
    assert "at the same crop, `bypass` is worse than `short` (stft +0.200" in said
    assert "some recipes have 1 seeds, others 2" in said
    text = table.markdown(json.loads(json.dumps(found)))
    assert "| control: silence | – | – | – | – | Poor | 5.000" in text
    assert "| bypass | short | +0.200" in text
    assert "run it" in text


def test_the_flow_loss_has_an_interval_over_seeds(table: Any) -> None:
    found = table._over_seeds([1.0, 2.0, 3.0])
    assert (found["mean"], found["seeds"]) == (2.0, 3)
    assert found["high"] - 2.0 == pytest.approx(2.0 - found["low"]) == pytest.approx(4.303 / 3**0.5)
    assert table._over_seeds([1.5]) == {"mean": 1.5, "low": 1.5, "high": 1.5, "seeds": 1}


def test_nothing_finished_is_one_line(
    script: Any, recipes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["summarize", str(recipes), "--output", str(tmp_path / "none")]) == 1
    assert "no finished runs of default, conv1d" in capsys.readouterr().err
