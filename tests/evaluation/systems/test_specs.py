"""Systems by name: what is understood, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.evaluation.systems import SYSTEMS, SystemSpec, check_systems, default_systems
from heartopt.evaluation.systems.builtin import Optimize, Projection
from heartopt.evaluation.systems.lossy import Lossy
from heartopt.optimize import PRESETS, OptimizeSettings


def specs(*texts: str) -> list[SystemSpec]:
    return [SystemSpec.parse(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "name", "system"),
    [
        ("projection", "projection", "projection"),
        ("mine=projection:a/b.safetensors", "mine", "projection:a/b.safetensors"),
        (" mine = mp3:64 ", "mine", "mp3:64"),
        ("audio:a=b", "audio:a=b", "audio:a=b"),  # a folder of that name
        ("x=audio:a=b", "x", "audio:a=b"),
        ("<img onerror=alert(1)>=noise", "<img onerror", "alert(1)>=noise"),
    ],
)
def test_names_come_before_the_first_equals_sign(text: str, name: str, system: str) -> None:
    found = SystemSpec.parse(text)
    assert (found.name, found.system) == (name, system)


def test_every_form_is_made(tmp_path: Path) -> None:
    kinds = {
        "projection:x.safetensors": Projection,
        "optimize:draft": Optimize,
        "mp3:64": Lossy,
        "opus:32": Lossy,
        "aac:96": Lossy,
    }
    for text, kind in kinds.items():
        assert type(SystemSpec.parse(text).make()) is kind
    for text in ("tokens:.", "audio:.", "python:json.dumps", *SYSTEMS):
        assert SystemSpec.parse(text, tmp_path).make() is not None
    assert SystemSpec.parse("projection").make().needs_projection
    assert SystemSpec.parse("optimize:best").make().needs_projection
    assert not SystemSpec.parse("projection:x.safetensors").make().needs_projection


def test_presets_take_the_run_s_decoding_and_seed_and_their_own_changes() -> None:
    base = OptimizeSettings(objective="flow", steps=3, duration=7.44, num_steps=4, guidance_scale=1.5, seed=9)
    for preset, values in PRESETS.items():
        system = SystemSpec("x", f"optimize:{preset}", {"steps": 2, "flow": {"draws": 1}}).make()
        assert isinstance(system, Optimize)
        found = system.settings(base)
        assert (found.steps, found.flow.draws, found.flow.antithetic) == (2, 1, True)
        assert found.objective == values.get("objective", OptimizeSettings().objective)
        assert (found.duration, found.num_steps, found.guidance_scale, found.seed) == (7.44, 4, 1.5, 9)
    own = SystemSpec("x", "optimized", {"moves": 1}).make()
    assert isinstance(own, Optimize)
    assert (own.settings(base).steps, own.settings(base).moves, own.settings(base).objective) == (3, 1, "flow")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SystemSpec.parse("magic"), r"unknown system magic: choose from projection, .*python:MODULE\.FUNCTION"),
        (SystemSpec.parse("projection:"), "unknown system projection:"),
        (SystemSpec.parse("magic:3"), "unknown system magic:3"),
        (SystemSpec.parse("optimize:fast"), "there is no such preset; choose from draft, standard, best"),
        (SystemSpec.parse("mp3:loud"), "give a whole number of kbit/s, such as mp3:64"),
        (SystemSpec.parse("mp3:63"), "mp3 has no 63 kbit/s"),
        (SystemSpec.parse("opus:9000"), "opus has no 9000 kbit/s"),
        (SystemSpec.parse("tokens:no/where"), "system tokens:no/where: there is no such folder"),
        (SystemSpec.parse("audio:no/where"), "there is no such folder"),
        (SystemSpec.parse("python:encode"), "write python:MODULE.FUNCTION"),
        (SystemSpec.parse("python:no_such_module.encode"), "cannot be imported: ModuleNotFoundError"),
        (SystemSpec.parse("python:json.none"), "cannot be imported: AttributeError"),
        (SystemSpec.parse("python:math.pi"), "pi is float, not a function"),
        (SystemSpec.parse("mine=noise"), "a control keeps its own name"),
        (SystemSpec.parse("noise=mp3:64"), "noise is the name of another system"),
        (SystemSpec.parse("optimized=projection:x"), "optimized is the name of another system"),
        (SystemSpec("x", "mp3:64", {"a": 1}), "system x: mp3:64 takes no settings"),
        (SystemSpec("x", "optimized", {"speed": 1}), "optimize has no setting speed; it has objective"),
        (SystemSpec("x", "optimized", {"num_steps": 1}), "optimize has no setting num_steps"),
        (SystemSpec("x", "optimized", {"steps": -1}), "steps is -1"),
        (SystemSpec("x", "optimized", {"steps": "many"}), "optimize's setting steps is 'many'"),
        (SystemSpec("x", "optimized", {"steps": -1}), "optimize's settings|steps"),
        (SystemSpec("x", "optimized", {"adaptive": 1}), "optimize's setting adaptive is 1"),
        (SystemSpec("x", "optimized", {"flow": 3}), "optimize's setting flow is 3"),
        (SystemSpec("x", "optimized", {"flow": {"draws": "x"}}), "optimize's setting flow.draws is 'x'"),
        (SystemSpec("x", "optimized", {"temperature": 1.0}), "optimize's setting temperature is 1.0"),
        (SystemSpec("x", "optimized", {"temperature": ["a", 1]}), "optimize's setting temperature is"),
        (SystemSpec("x", "optimize:draft", {"flow": {"speed": 1}}), "optimize has no setting flow.speed"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(spec: SystemSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        spec.make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "=noise", "x=", "="])
def test_empty_names_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write SYSTEM or NAME=SYSTEM"):
        SystemSpec.parse(text)


def test_a_system_may_have_its_own_kind_s_name() -> None:
    made = check_systems(specs("projection=projection:x", "optimized=optimize:best"), _Mini(), 2)
    assert list(made) == ["projection", "optimized"]


class _Mini:
    """As much of a codec as is looked at."""

    name = "mini"


def test_impossible_systems_are_left_out_or_refused(codec: HeartCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_systems(codec, 2) == tuple(SYSTEMS)
    assert "another_song" not in default_systems(codec, 1)
    with pytest.raises(ConfigError, match="another_song is not possible here: there is only one song"):
        check_systems(specs("another_song"), codec, 1)
    monkeypatch.setattr(codec, "name", "other")
    assert "oracle" not in default_systems(codec, 2)
    with pytest.raises(ConfigError, match="oracle is not possible here: the codec has no encoder"):
        check_systems(specs("oracle"), codec, 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("magic",), "unknown system magic"),
        ((), "named once each"),
        (("noise", "noise"), "named once each"),
        (("x=mp3:64", "x=mp3:96"), "named once each"),
    ],
)
def test_wrong_names_are_refused(names: tuple[str, ...], message: str, codec: HeartCodec) -> None:
    with pytest.raises(ConfigError, match=message):
        check_systems(specs(*names), codec, 2)
