"""What may be listened to, and what is refused in one line."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from heartopt.errors import AudioError, ConfigError, HeartoptError
from heartopt.report.listening import Excerpt, Take
from heartopt.report.listening.takes import checked, drawable


def example(samples: int = 100, take_samples: int = 100) -> Excerpt:
    original = torch.linspace(-1, 1, 2 * samples).reshape(2, samples)
    take = torch.linspace(1, -1, 2 * take_samples).reshape(2, take_samples)
    return Excerpt("a.wav", "A", original, (Take("one", take, {}),))


def refusal(excerpt: Excerpt) -> str:
    with pytest.raises(HeartoptError) as caught:
        checked([excerpt])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_excerpts_and_no_takes_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one excerpt"):
        checked([])
    assert "a.wav has no takes" in refusal(replace(example(), takes=()))


def test_a_name_used_twice_is_refused() -> None:
    take = example().takes[0]
    assert "two takes named 'one'" in refusal(replace(example(), takes=(take, take)))
    assert "two takes named 'Original'" in refusal(replace(example(), takes=(replace(take, system="Original"),)))


@pytest.mark.parametrize("shape", [(0,), (5,), (3, 5), (2, 0), (1, 2, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    assert "a.wav: original" in refusal(replace(example(), original=torch.zeros(shape)))
    wrong = Take("one", torch.zeros(shape), {})
    assert f"a.wav: one has shape {list(shape)}" in refusal(replace(example(), takes=(wrong,)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    audio = torch.zeros(2, 100)
    audio[1, 50] = value
    with pytest.raises(AudioError, match="NaN or infinite"):
        checked([replace(example(), takes=(Take("one", audio, {}),))])


def test_takes_are_as_long_as_their_original() -> None:
    longer = checked([example(100, 130)])[0].takes[0].audio
    assert torch.equal(longer, example(100, 130).takes[0].audio[:, :100])
    shorter = checked([example(100, 70)])[0].takes[0].audio
    assert torch.equal(shorter[:, :70], example(100, 70).takes[0].audio)
    assert shorter.shape == (2, 100) and not shorter[:, 70:].any()


def test_titles_that_several_excerpts_have_are_told_apart_by_their_names() -> None:
    names = ("a 1", "a 2", "b")
    found = checked([replace(example(), name=name, title=name[0].upper()) for name in names])
    assert [excerpt.title for excerpt in found] == ["A (a 1)", "A (a 2)", "B"]


def test_two_equal_channels_are_mono() -> None:
    mono = torch.linspace(-1, 1, 100)[None]
    found = checked([Excerpt("a.wav", "A", mono.repeat(2, 1), (Take("one", mono, {}),))])[0]
    assert torch.equal(found.original, mono) and torch.equal(found.takes[0].audio, mono)
    assert checked([example()])[0].original.shape == (2, 100)


def test_bytes_that_are_no_characters_are_replaced() -> None:
    assert drawable("a\udcffb") == "a?b"
    assert checked([replace(example(), name="\udcff.wav", title="")])[0].title == "?.wav"
