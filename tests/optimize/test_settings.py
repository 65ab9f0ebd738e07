import inspect

import pytest

from heartopt.cli.evaluate import evaluate
from heartopt.cli.optimize import optimize
from heartopt.errors import ConfigError
from heartopt.optimize import OptimizeSettings


@pytest.mark.parametrize("command", [optimize, evaluate])
def test_the_commands_have_the_librarys_default_of_steps(command):
    assert inspect.signature(command).parameters["steps"].default == OptimizeSettings().steps


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1},
        {"draws": 0},
        {"select_seeds": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"commitment": -1.0},
        {"commitment": float("nan")},
        {"guidance_scale": float("inf")},
        {"budget": 0.0},
        {"budget": float("nan")},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        OptimizeSettings(**wrong)
