"""Blind tests in a real browser: the answers are hidden, the counts and p-values right, the files whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from heartopt.report.listening import write_page
from heartopt.report.listening.entries import ANCHOR

from .conftest import Opener, excerpt, hidden_answers, shuffled, start_abx

SYSTEMS = ("Original", "same", "other", "quiet", "noise")


def saved(page: Any, button: str, folder: Path) -> dict[str, Any]:
    with page.expect_download() as download:
        page.locator(button).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return json.loads(path.read_text(encoding="utf-8"))


def test_abx_counts_and_tests_right(open_page: Opener, tmp_path: Path) -> None:
    """Two tests of eight trials: all right, then two wrong."""
    page = open_page(fragment="#seed=1")
    for turn, wrong in enumerate([(), (2, 5)]):
        start_abx(page)
        answers = hidden_answers(1, 8, after=8 * turn)
        assert set(answers) == {"a", "b"}
        given = [answer if index not in wrong else "ab"[answer == "a"] for index, answer in enumerate(answers)]
        for index, answer in enumerate(given):
            assert page.locator("#abx-progress").text_content() == f"Trial {index + 1} of 8"
            page.locator("[data-pad=x]").click()
            page.locator(f"#abx-is-{answer}").click()
        right = 8 - len(wrong)
        p_value = stats.binomtest(right, 8, 0.5, alternative="greater").pvalue
        assert page.locator("#abx-verdict").text_content() == f"{right} of 8 right"
        assert f"p = {p_value:.4f}" in page.locator("#abx-meaning").text_content()
        assert "#seed" in page.locator("#abx-meaning").text_content()
        found = [dot.text_content().split(": ")[1] for dot in page.locator("#abx-answers li").all()]
        assert found == ["wrong" if index in wrong else "right" for index in range(8)]

        record = saved(page, "#abx-save", tmp_path)
        assert (record["kind"], record["excerpt"], record["a"], record["b"]) == (
            "abx", "song-0.flac", "Original", "other",
        )  # fmt: skip
        assert [trial["x"] for trial in record["trials"]] == answers
        assert [trial["answer"] for trial in record["trials"]] == given
        assert (record["correct"], record["count"], record["planned"]) == (right, 8, 8)
        assert record["seeded"] is True and record["level_matched"] is True
        assert record["p_value"] == pytest.approx(p_value, rel=1e-12)
        page.locator("#abx-again").click()


def test_x_cannot_be_seen_before_the_answer(open_page: Opener) -> None:
    """Where X is A and where X is B, the whole document is the same, and so is what is read out."""
    seeds = {answer: next(seed for seed in range(99) if hidden_answers(seed, 8)[0] == answer) for answer in "ab"}
    seen = []
    for seed in seeds.values():
        page = open_page(fragment=f"#seed={seed}")
        start_abx(page, a="other", b="quiet")
        page.keyboard.press("x")
        page.keyboard.press("Space")  # the playhead stands still
        page.locator("#screen").focus()
        page.keyboard.press("Home")
        seen.append((page.evaluate("document.documentElement.outerHTML"), page.locator("body").aria_snapshot()))
    assert seen[0] == seen[1]


def test_answers_need_x_and_fewer_trials_say_so(open_page: Opener, tmp_path: Path) -> None:
    page = open_page(fragment="#seed=7")
    start_abx(page, trials=10, tell=True)
    assert page.locator("fieldset:disabled").count() == 2
    for key in ("a", "1", "a", "3", "b"):
        page.keyboard.press(key)
    assert page.locator("#abx-progress").text_content() == "Trial 1 of 10"  # no answer counts before X was heard
    page.keyboard.press("2")
    answer = hidden_answers(7, 10)[0]
    page.keyboard.press("b" if answer == "a" else "a")
    assert page.locator("#abx-feedback").text_content() == f"Wrong: X was {answer.upper()}."
    page.locator("#abx-stop").click()
    assert "stopped early" in page.locator("#abx-meaning").text_content()
    record = saved(page, "#abx-save", tmp_path)
    assert (record["count"], record["planned"], record["p_value"], record["told_after_each"]) == (1, 10, 1.0, True)
    assert page.locator("fieldset:disabled").count() == 0


def test_without_a_seed_the_answers_are_drawn_anew(open_page: Opener, tmp_path: Path) -> None:
    page = open_page()
    found = set()
    for _ in range(2):
        start_abx(page, trials=20)
        for _ in range(20):
            page.keyboard.press("x")
            page.keyboard.press("a")
        record = saved(page, "#abx-save", tmp_path)
        assert record["seeded"] is False and "#seed" not in page.locator("#abx-meaning").text_content()
        found.add("".join(trial["x"] for trial in record["trials"]))
        page.locator("#abx-again").click()
    assert len(found) == 2


def test_levels_that_cannot_be_matched_are_said_and_saved(open_page: Opener, tmp_path: Path) -> None:
    song = excerpt()
    faint = replace(song.takes[1], system="faint", audio=song.takes[1].audio * 0.02)
    write_page([replace(song, takes=(*song.takes, faint))], tmp_path / "page.html", title="Levels")
    page = open_page(tmp_path / "page.html", fragment="#seed=1")
    start_abx(page, b="other")
    page.locator("#abx-stop").click()
    assert page.locator("#abx-levels").text_content() == "Levels are matched."
    start_abx(page, b="faint")
    page.keyboard.press("x")
    page.keyboard.press("a")
    page.locator("#abx-stop").click()
    assert saved(page, "#abx-save", tmp_path)["level_matched"] is False
    page.locator("#abx-again").click()
    assert re.fullmatch(r"faint stays 1[34]\.\d dB too quiet\.", page.locator("#abx-levels").text_content())
    page.get_by_role("radio", name="Blind rating").check()
    assert "but for 1 of the takes" in page.locator("#rate-levels").text_content()


def test_ratings_are_saved_under_the_hidden_names(open_page: Opener, tmp_path: Path) -> None:
    page = open_page(fragment="#seed=4")
    page.get_by_role("radio", name="Blind rating").check()
    page.locator("#rate-anchor").check()
    page.locator("#rate-start").click()
    order = shuffled([*SYSTEMS, ANCHOR], 4)
    assert order != [*SYSTEMS, ANCHOR]
    sliders = page.locator("#rate-list input")
    assert [slider.get_attribute("aria-label") for slider in sliders.all()] == [
        f"Rating of sound {letter}" for letter in "ABCDEF"
    ]
    shown = page.locator("#rate").inner_text()
    assert not [name for name in (*SYSTEMS, ANCHOR) if name in shown.replace("low-pass", "")]
    wanted = {name: 100 - 13 * index for index, name in enumerate([*SYSTEMS, ANCHOR])}
    for slider, name in zip(sliders.all(), order, strict=True):
        assert page.locator("#rate-finish").is_disabled()
        slider.fill(str(wanted[name]))
    assert sliders.first.get_attribute("aria-valuetext").startswith(f"{wanted[order[0]]}, ")
    page.locator("#rate-finish").click()
    rows = [[cell.text_content() for cell in row.locator("td").all()] for row in page.locator("#rate-found tr").all()]
    assert [row[1] for row in rows] == [*SYSTEMS, ANCHOR]  # best first
    assert rows[0][2:] == ["hidden reference", "100"]

    record = saved(page, "#rate-save", tmp_path)
    ((entry),) = record["excerpts"]
    assert (record["kind"], record["scale"], record["seeded"]) == ("blind rating", [0, 100], True)
    assert (entry["excerpt"], entry["level_matched"]) == ("song-0.flac", True)
    assert [rating["system"] for rating in entry["ratings"]] == order
    assert {rating["system"]: rating["rating"] for rating in entry["ratings"]} == wanted
    roles = {rating["system"]: rating["role"] for rating in entry["ratings"]}
    assert [roles[name] for name in ("Original", "same", "noise", ANCHOR)] == [
        "hidden reference", "system", "control", "anchor",
    ]  # fmt: skip


def test_a_second_excerpt_is_rated_into_the_same_file(open_page: Opener, tmp_path: Path) -> None:
    page = open_page(fragment="#seed=2")
    page.get_by_role("radio", name="Blind rating").check()
    for number in range(2):
        page.get_by_role("radio", name=f"Song {number}").check()
        page.locator("#rate-start").click()
        for slider in page.locator("#rate-list input").all():
            slider.fill("80")
        page.locator("#rate-finish").click()
    assert "The hidden reference got 80" in page.locator("#rate-note").text_content()
    record = saved(page, "#rate-save", tmp_path)
    assert [entry["excerpt"] for entry in record["excerpts"]] == ["song-0.flac", "song-1.flac"]
    assert {len(entry["ratings"]) for entry in record["excerpts"]} == {len(SYSTEMS)}
