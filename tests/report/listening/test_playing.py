"""The page in a real browser: what is heard, at which position, and what the controls, keys and themes do.

The sounds are noise, so a short recording is found in them by correlation, to the sample.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from .conftest import RATE, SECONDS, Opener, excerpt

Samples = npt.NDArray[np.float64]
BLOCK = 2_048
NAMES = ("Original", "same", "other", "quiet", "noise")
# Gains make `quiet` as loud as the original; nothing else is changed.
SOUNDS: dict[str, Samples] = {
    name: audio.mean(0).double().numpy()
    for name, audio in zip(NAMES, [excerpt(0).original, *(take.audio for take in excerpt(0).takes)], strict=True)
}

RECORD = """() => {
  const samples = new Float32Array(window.tap.fftSize);
  window.tap.getFloatTimeDomainData(samples);
  const bytes = new Uint8Array(samples.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}"""


def recorded(page: Any, wait: float) -> Samples:
    """What was played last, 0.68 s of it, after waiting so many seconds of the audio's own clock."""
    page.evaluate(
        """(seconds) => new Promise((done) => {
          const end = tap.context.currentTime + seconds;
          const look = () => (tap.context.currentTime >= end ? done() : setTimeout(look, 5));
          look();
        })""",
        wait,
    )
    return np.frombuffer(base64.b64decode(page.evaluate(RECORD)), dtype=np.float32).astype(np.float64)


def located(block: Samples, name: str) -> tuple[int, float]:
    """Where in a sound the block is, in samples, and how well it fits: 1 is the same but for the level."""
    sound = SOUNDS[name]
    products = signal.correlate(sound, block, mode="valid", method="fft")
    energies = signal.correlate(sound**2, np.ones(len(block)), mode="valid", method="fft")
    fits = products / np.sqrt(energies * np.sum(block**2) + 1e-12)
    place = int(fits.argmax())
    return place, float(fits[place])


def heard(recording: Samples, names: tuple[str, ...] = ("Original", "other", "quiet")) -> list[tuple[str, int]]:
    """Block by block: which sound it is, and the position at which the recording would have begun; "" for a mixture."""
    found = []
    for start in range(0, len(recording) - BLOCK + 1, BLOCK):
        fits = {name: located(recording[start : start + BLOCK], name) for name in names}
        best = max(fits, key=lambda name: fits[name][1])
        place, fit = fits[best]
        found.append((best if fit > 0.999 else "", place - start))
    return found


@pytest.fixture
def playing(open_page: Opener) -> Iterator[Any]:
    page = open_page()
    page.keyboard.press("Space")
    page.locator("#stage-play[data-playing=true]").wait_for()
    yield page


def level(recording: Samples) -> float:
    return float(np.sqrt(np.mean(recording**2)))


def test_the_selected_sound_is_played_and_switching_keeps_the_position(playing: Any) -> None:
    first = playing.evaluate("tap.context.currentTime")
    names = heard(recorded(playing, 0.8))
    assert playing.evaluate("tap.context.currentTime") >= first + 0.8
    assert {name for name, _ in names} == {"Original"}
    assert len({place for _, place in names}) == 1  # one sample after the other, without a gap
    before = "Original"
    for key, name in (("3", "other"), ("4", "quiet")):
        playing.keyboard.press(key)
        names = heard(recorded(playing, 0.3))
        words = [word for word, _ in names]
        assert words[0] == before and words[-1] == name
        assert words.count("") <= 1 and words == sorted(words, key=(before, "", name).index)
        assert len({place for word, place in names if word}) == 1  # to the sample
        before = name
        recorded(playing, 0.5)


def test_switching_between_equal_sounds_cannot_be_heard(playing: Any) -> None:
    """The gains add up to one at every moment: no dip, no click."""
    recorded(playing, 0.8)
    for key in "212":
        playing.keyboard.press(key)
    recording = recorded(playing, 0.3)
    place, _ = located(recording[:BLOCK], "Original")
    np.testing.assert_allclose(recording, SOUNDS["Original"][place : place + len(recording)], atol=2e-4)


def test_levels_are_matched_and_can_be_left(playing: Any) -> None:
    playing.keyboard.press("4")
    matched = level(recorded(playing, 0.8))
    playing.get_by_label("Match levels").uncheck()
    plain = level(recorded(playing, 0.8))
    assert 20 * np.log10(matched / plain) == pytest.approx(6.02, abs=0.1)
    assert plain == pytest.approx(level(SOUNDS["quiet"]), rel=0.05)


def test_a_dragged_part_is_repeated(playing: Any) -> None:
    box = playing.locator("#screen").bounding_box()
    for share, action in ((0.5, playing.mouse.down), (0.6, playing.mouse.up)):
        playing.mouse.move(box["x"] + share * box["width"], box["y"] + 30, steps=3)
        action()
    loop = playing.evaluate("""() => {
      const { left, width } = document.getElementById("loop").style;
      return [parseFloat(left) / 100, parseFloat(width) / 100];
    }""")
    assert loop == pytest.approx([0.5, 0.1], abs=0.003)
    names = heard(recorded(playing, 1.2))
    begin, end = (round(share * SECONDS * RATE) for share in (loop[0], sum(loop)))
    inside = [place + index * BLOCK for index, (name, place) in enumerate(names) if name]
    assert len(inside) > len(names) / 2
    assert all(begin <= place and place + BLOCK <= end for place in inside)
    assert len({round((place - index * BLOCK) / 10) for index, (name, place) in enumerate(names) if name}) > 1
    # Each time round takes as long as the part is.
    turns = sorted({place for name, place in names if name})
    assert np.diff(turns) == pytest.approx(end - begin, abs=1)


def test_marks_by_keys_and_a_loop_given_up(playing: Any) -> None:
    playing.keyboard.press("Space")
    screen = playing.locator("#screen")
    screen.focus()
    playing.keyboard.press("Home")
    for key in ("ArrowRight", "i", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "o"):
        playing.keyboard.press(key)
    assert playing.locator("#status").text_content() == "Loop from 0.5 to 1.6 seconds"
    assert playing.locator("#loop").is_visible()
    assert screen.get_attribute("aria-valuetext") == "0.5 of 3.0 seconds"  # its end is its beginning
    playing.keyboard.press("Escape")
    assert not playing.locator("#loop").is_visible()
    assert playing.locator("#stage-clear").is_disabled()


def test_without_the_loop_it_ends(open_page: Opener) -> None:
    page = open_page()
    page.keyboard.press("l")
    page.locator("#screen").focus()
    page.keyboard.press("End")
    page.keyboard.press("Shift+ArrowLeft")
    page.locator("#stage-play").click()
    page.locator("#stage-play[data-playing=true]").wait_for()
    page.locator("#stage-play[data-playing=false]").wait_for()
    assert page.locator("#screen").get_attribute("aria-valuenow") == "0.0"


def test_seeking_goes_there(playing: Any) -> None:
    box = playing.locator("#screen").bounding_box()
    playing.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 60)
    place = heard(recorded(playing, 0.75))[-1][1]
    assert abs(place / RATE - 0.25 * SECONDS) < 0.2  # the recording began at most so long after the click


def test_another_excerpt_is_another_song(playing: Any) -> None:
    playing.get_by_role("radio", name="Song 1").check()
    assert playing.locator("#stage-play").get_attribute("data-playing") == "false"
    playing.locator("#stage-play").click()
    recording = recorded(playing, 1.0)
    sound = excerpt(1).original.mean(0).double().numpy()
    fits = signal.correlate(sound, recording[:BLOCK], mode="valid", method="fft")
    place = int(np.abs(fits).argmax())
    np.testing.assert_allclose(recording, sound[place : place + len(recording)], atol=2e-4)
