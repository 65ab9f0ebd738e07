"""The page in a real browser: what is heard, at which position, and what the controls, keys and themes do.

The sounds are noise, so a short recording is found in them by correlation, to the sample.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from heartopt.report.listening import write_page
from heartopt.report.listening.sound import matching_gain

from .conftest import RATE, Opener, Visits, excerpt, hidden_answers, shuffled, start_abx

Samples = npt.NDArray[np.float64]
SECONDS = 2.5  # of an excerpt
BLOCK = 2_048
SONG = excerpt(0, seconds=SECONDS)
NAMES = ("Original", "same", "other", "quiet", "noise")
# Gains make `quiet` as loud as the original; nothing else is changed.
SOUNDS: dict[str, Samples] = {
    name: audio.mean(0).double().numpy()
    for name, audio in zip(NAMES, [SONG.original, *(take.audio for take in SONG.takes)], strict=True)
}

# Press a key, if any; wait for so many seconds of the audio's own clock; give what was played last.
RECORD = """async ([key, seconds]) => {
  if (key) document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const end = tap.context.currentTime + seconds;
  while (tap.context.currentTime < end) await new Promise((done) => setTimeout(done, 5));
  const samples = new Float32Array(tap.fftSize);
  tap.getFloatTimeDomainData(samples);
  const bytes = new Uint8Array(samples.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}"""


def recorded(page: Any, wait: float, key: str = "") -> Samples:
    """The last 0.68 s of what was played, after a key, if any, and so many seconds."""
    return np.frombuffer(base64.b64decode(page.evaluate(RECORD, [key, wait])), dtype=np.float32).astype(np.float64)


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


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the usual page, one that lasts longer than a recording."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page([SONG, excerpt(1, seconds=1.0)], path, title="Two songs")
    return path


@pytest.fixture(scope="module")
def player(visits: Visits) -> Any:
    """A page that stays open."""
    return visits()


@pytest.fixture
def playing(player: Any, open_page: Opener) -> Any:
    """That page, playing the first excerpt's original from its beginning."""
    player.get_by_role("radio", name="Song 0").check()
    player.get_by_label("Match levels").check()
    player.keyboard.press("Escape")
    player.keyboard.press("1")
    if player.locator("#stage-play").get_attribute("data-playing") == "true":
        player.locator("#stage-play").click()
    player.locator("#screen").focus()
    player.keyboard.press("Home")
    player.locator("#stage-play").click()
    player.locator("#stage-play[data-playing=true]").wait_for()
    return player


def gain(recording: Samples, name: str) -> float:
    """By what factor the last of a recording is louder than the sound."""
    block = recording[-BLOCK:]
    place, fit = located(block, name)
    assert fit > 0.999
    return float(np.linalg.norm(block) / np.linalg.norm(SOUNDS[name][place : place + BLOCK]))


def test_the_selected_sound_is_played_in_time(playing: Any) -> None:
    first = playing.evaluate("tap.context.currentTime")
    names = heard(recorded(playing, 0.8))
    assert playing.evaluate("tap.context.currentTime") >= first + 0.8
    assert {name for name, _ in names} == {"Original"}
    assert len({place for _, place in names}) == 1  # one sample after the other, without a gap


@pytest.mark.parametrize(("key", "name"), [("3", "other"), ("4", "quiet")])
def test_switching_keeps_the_position(playing: Any, key: str, name: str) -> None:
    recorded(playing, 0.8)
    names = heard(recorded(playing, 0.3, key))
    words = [word for word, _ in names]
    assert words[0] == "Original" and words[-1] == name
    assert words.count("") <= 1 and words == sorted(words, key=("Original", "", name).index)
    assert len({place for word, place in names if word}) == 1  # to the sample


def test_switching_between_equal_sounds_cannot_be_heard(playing: Any) -> None:
    """The gains add up to one at every moment: no dip, no click."""
    recorded(playing, 0.8)
    for key in "21":
        recorded(playing, 0.02, key)
    recording = recorded(playing, 0.3, "2")
    assert playing.locator("#stage-shown").text_content() == "same"
    place, _ = located(recording[:BLOCK], "Original")
    np.testing.assert_allclose(recording, SOUNDS["Original"][place : place + len(recording)], atol=2e-4)


def test_levels_are_matched_and_can_be_left(playing: Any) -> None:
    wanted, _ = matching_gain(SONG.takes[2].audio, SONG.original)
    assert wanted == pytest.approx(6.0, abs=0.1)
    assert 20 * np.log10(gain(recorded(playing, 0.8, "4"), "quiet")) == pytest.approx(wanted, abs=0.01)
    playing.get_by_label("Match levels").uncheck()
    assert gain(recorded(playing, 0.3), "quiet") == pytest.approx(1, abs=1e-3)


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


def test_a_loop_that_begins_now_plays_on(playing: Any) -> None:
    """A new loop is a new start of all sources, at the very sample where the old ones would be."""
    recorded(playing, 0.8)
    names = heard(recorded(playing, 0.3, "i"))
    assert playing.locator("#loop").is_visible()
    assert len({place for name, place in names if name}) == 1
    assert [name for name, _ in names].count("") <= 2


def test_marks_by_keys_and_a_loop_given_up(playing: Any) -> None:
    playing.keyboard.press("Space")
    screen = playing.locator("#screen")
    screen.focus()
    playing.keyboard.press("Home")
    for key in ("ArrowRight", "i", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "o"):
        playing.keyboard.press(key)
    assert playing.locator("#status").text_content() == "Loop from 0.5 to 1.6 seconds"
    assert playing.locator("#loop").is_visible()
    assert screen.get_attribute("aria-valuetext") == "0.5 of 2.5 seconds"  # its end is its beginning
    playing.keyboard.press("Escape")
    assert not playing.locator("#loop").is_visible()
    assert playing.locator("#stage-clear").is_disabled()


def test_without_the_loop_it_ends_where_the_part_ends(playing: Any) -> None:
    playing.locator("#stage-play").click()
    playing.locator("#screen").focus()
    for key in ("Home", "ArrowRight", "i", "ArrowRight", "o", "l"):
        playing.keyboard.press(key)
    playing.locator("#stage-play").click()
    playing.locator("#stage-play[data-playing=true]").wait_for()
    playing.locator("#stage-play[data-playing=false]").wait_for()
    assert playing.locator("#screen").get_attribute("aria-valuenow") == "0.5"
    recording = recorded(playing, 0.0)
    last = int(np.flatnonzero(recording)[-1])
    fade = round(0.003 * RATE)
    place, fit = located(recording[last - fade - BLOCK : last - fade], "Original")
    assert fit > 0.999 and place + BLOCK + fade == pytest.approx(1.0 * RATE, abs=fade)
    playing.keyboard.press("l")


def test_seeking_goes_there(playing: Any) -> None:
    box = playing.locator("#screen").bounding_box()
    playing.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 60)
    place = heard(recorded(playing, 0.75))[-1][1]
    assert abs(place / RATE - 0.25 * SECONDS) < 0.2  # the recording began at most so long after the click


def test_another_excerpt_is_another_song(playing: Any) -> None:
    playing.get_by_role("radio", name="Song 1").check()
    assert playing.locator("#stage-play").get_attribute("data-playing") == "false"
    playing.locator("#stage-play").click()
    recording = recorded(playing, 0.9)  # a second's loop from its beginning: the recording ends before its seam
    sound = excerpt(1, seconds=1.0).original.mean(0).double().numpy()
    place = int(signal.correlate(sound, recording[-2 * BLOCK : -BLOCK], mode="valid", method="fft").argmax())
    np.testing.assert_allclose(recording[-2 * BLOCK : -BLOCK], sound[place : place + BLOCK], atol=2e-4)


def words(page: Any) -> set[str]:
    """The sounds of a recording that begins now. Where a loop closes there is a mixture."""
    found = [word for word, _ in heard(recorded(page, 0.75), ("Original", "other", "quiet", "noise"))]
    assert found.count("") <= 2  # it may lie across two blocks
    return set(found) - {""}


def test_hidden_sounds_are_those_they_are_said_to_be(open_page: Opener) -> None:
    seed = next(seed for seed in range(99) if hidden_answers(seed, 2) == ["b", "a"])
    page = open_page(fragment=f"#seed={seed}")
    start_abx(page, a="other", b="quiet")
    for name, answer in (("quiet", "b"), ("other", "a")):
        page.keyboard.press("x")
        assert words(page) == {name}
        page.keyboard.press(answer)
    page.locator("#abx-stop").click()
    assert page.locator("#abx-verdict").text_content() == "2 of 2 right"

    page = open_page(fragment=f"#seed={seed}")
    page.get_by_role("radio", name="Blind rating").check()
    page.locator("#rate-start").click()
    order = shuffled(list(NAMES), seed)
    for key in ("1", "4", "0"):
        page.keyboard.press(key)
        wanted = "Original" if key == "0" else order[int(key) - 1].replace("same", "Original")
        assert words(page) == {wanted}
