import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartopt.cli.evaluate import evaluate
from heartopt.cli.optimize import optimize
from heartopt.errors import ConfigError
from heartopt.optimize import PRESETS, FlowSettings, OdeSettings, OptimizeSettings

NAN, INF = float("nan"), float("inf")


def test_the_commands_defaults_are_the_librarys():
    library, shown = OptimizeSettings(), inspect.signature(optimize).parameters
    assert OptimizeSettings(**PRESETS[shown["preset"].default]) == library
    assert inspect.signature(evaluate).parameters["steps"].default == library.steps
    for name in ("quantizer", "moves", "patience", "budget", "duration", "windows_at_once", "seed"):
        assert shown[name].default == getattr(library, name), name
    for name in ("objective", "steps"):
        assert shown[name].default is None, "the preset's"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_uses_all_of_its_steps(name):
    settings = OptimizeSettings(**PRESETS[name])
    assert sum(count for _, count in settings.phases) == settings.steps > 0
    assert all(count > 0 for _, count in settings.phases)


def test_presets_go_from_quick_to_thorough():
    assert list(PRESETS) == ["draft", "standard", "best"]
    draft, standard, best = (OptimizeSettings(**told) for told in PRESETS.values())
    assert (draft.objective, standard.objective, best.objective) == ("flow", "hybrid", "hybrid")
    assert draft.steps <= standard.steps < best.steps
    assert dict(best.phases)["ode"] > dict(standard.phases)["ode"]


@given(st.integers(0, 1000), st.floats(0, 1))
def test_phases_add_up_to_the_steps(steps, share):
    hybrid = OptimizeSettings(steps=steps, flow_share=share)
    assert [objective for objective, _ in hybrid.phases] == ["flow", "ode"]
    assert sum(count for _, count in hybrid.phases) == steps
    assert abs(hybrid.phases[0][1] - share * steps) <= 0.5
    for objective in ("flow", "ode"):
        assert OptimizeSettings(objective=objective, steps=steps).phases == ((objective, steps),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "flows"},
        {"quantizer": "straight_through"},
        {"start": ""},
        {"steps": -1},
        {"moves": -1},
        {"watch_every": -1},
        {"select_seeds": 0},
        {"judge_seeds": 0},
        {"num_steps": 0},
        {"beam": 0},
        {"windows_at_once": 0},
        {"top_k": 1},
        {"patience": 0},
        {"flow_share": -0.1},
        {"flow_share": 1.1},
        {"flow_share": NAN},
        {"averaging": -0.1},
        {"averaging": 1.0},
        {"averaging": NAN},
        {"temperature": (0.1, 0.2)},
        {"temperature": (0.1, 0.0)},
        {"temperature": (INF, 0.1)},
        {"temperature": (NAN, 0.1)},
        {"temperature": (0.1, NAN)},
        {"guidance_scale": -1.0},
        {"guidance_scale": INF},
        {"guidance_scale": NAN},
        {"budget": 0.0},
        {"budget": -1.0},
        {"budget": INF},
        {"budget": NAN},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        OptimizeSettings(**wrong)


@pytest.mark.parametrize(
    ("phase", "wrong"),
    [
        (FlowSettings, {"draws": 0}),
        (FlowSettings, {"times": "random"}),
        (FlowSettings, {"learning_rate": 0.0}),
        (FlowSettings, {"learning_rate": NAN}),
        (FlowSettings, {"learning_rate": INF}),
        (FlowSettings, {"commitment": -1.0}),
        (FlowSettings, {"commitment": NAN}),
        (OdeSettings, {"draws": 0}),
        (OdeSettings, {"solver_steps": 0}),
        (OdeSettings, {"gradient_steps": -1}),
        (OdeSettings, {"gradient_steps": 9}),
        (OdeSettings, {"learning_rate": 0.0}),
        (OdeSettings, {"learning_rate": NAN}),
        (OdeSettings, {"piece_seconds": 0.0}),
        (OdeSettings, {"piece_seconds": NAN}),
        (OdeSettings, {"mel_weight": -1.0}),
        (OdeSettings, {"mel_weight": INF}),
        (OdeSettings, {"shimmer_weight": -1.0}),
        (OdeSettings, {"shimmer_weight": NAN}),
        (OdeSettings, {"commitment": -1.0}),
        (OdeSettings, {"commitment": INF}),
    ],
    ids=str,
)
def test_phases_that_make_no_sense_are_refused(phase, wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        phase(**wrong)


def test_the_edges_are_allowed():
    OptimizeSettings(steps=0, moves=0, flow_share=0.0, averaging=0.0, temperature=(0.1, 0.1), guidance_scale=0.0)
    OptimizeSettings(flow_share=1.0, top_k=2, patience=1, beam=1)
    FlowSettings(draws=1, commitment=0.0)
    OdeSettings(solver_steps=2, gradient_steps=2, mel_weight=0.0, commitment=0.0)
    OdeSettings(solver_steps=1, gradient_steps=0)
