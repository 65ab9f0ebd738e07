"""The page in a real browser: table, themes, keys, a phone's width, and names that would like to be code."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import numpy.typing as npt

from heartopt.report.listening import write_page

from .conftest import HOSTILE, Opener, Visits, excerpt, hostile_excerpts, start_abx


def systems(page: Any) -> list[str]:
    """The table's visible rows."""
    return [row.locator("th button").text_content() for row in page.locator("#table tbody tr:visible").all()]


def test_the_table_is_sorted_by_click(open_page: Opener) -> None:
    page = open_page()
    assert systems(page) == ["same", "other", "quiet", "noise"]

    def click(name: str) -> str | None:
        heading = page.locator(f"#table th[data-name={name}]")
        heading.locator("button").click()
        assert page.locator("#table th[aria-sort]").count() == 1
        return heading.get_attribute("aria-sort")

    assert click("stft") == "ascending"  # lower is better, best first; 10.25 comes after 6.5
    assert systems(page) == ["same", "other", "noise", "quiet"]
    assert click("stft") == "descending"
    assert systems(page) == ["quiet", "noise", "other", "same"]
    assert click("si_sdr") == "descending"  # higher is better; what has no value stays below
    assert systems(page)[:2] == ["same", "other"]
    assert click("si_sdr") == "ascending"
    assert systems(page)[:2] == ["other", "same"]
    assert click("shimmer_db") == "ascending"  # nearer to zero
    assert systems(page)[:3] == ["same", "quiet", "other"]
    assert click("tier") == "ascending"
    assert systems(page)[:2] == ["same", "other"]
    assert click("system") == "ascending"
    assert systems(page) == ["noise", "other", "quiet", "same"]
    assert "Sorted by system" in page.locator("#status").text_content()
    page.get_by_label("This excerpt only").uncheck()
    assert len(systems(page)) == 8


def test_a_take_in_the_table_can_be_heard(open_page: Opener) -> None:
    page = open_page()
    page.get_by_label("This excerpt only").uncheck()
    page.locator("#table tbody tr[data-excerpt='1'] button", has_text="other").click()
    assert page.locator("#stage-shown").text_content() == "other"
    assert page.get_by_role("radio", name="Song 1").is_checked()
    pressed = page.locator(".take[aria-pressed=true]:visible")
    assert pressed.count() == 1 and pressed.locator(".name").text_content() == "other"
    assert page.locator("#status").text_content() == "other, Fair"


def test_the_theme_follows_the_system_and_can_be_turned(open_page: Opener) -> None:
    page = open_page(color_scheme="dark")

    def seen() -> tuple[str, bool, str]:
        theme = page.locator("html").get_attribute("data-theme")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0]")
        return theme, int(ground) > 200, page.evaluate("spectrum.toDataURL()")

    theme, bright, picture = seen()
    assert (theme, bright) == ("dark", False)
    page.get_by_role("button", name="Change to the light theme").click()
    theme, bright, turned = seen()
    assert (theme, bright) == ("light", True)
    assert turned != picture  # the spectrogram has the theme's colours too
    page.reload()
    assert seen()[:2] == ("light", True)  # the choice is kept
    page.get_by_role("button", name="Change to the dark theme").click()
    assert seen()[:2] == ("dark", False)
    assert open_page(color_scheme="light").locator("html").get_attribute("data-theme") == "light"


def test_keys_work_without_a_pointer(open_page: Opener) -> None:
    page = open_page(reduced_motion="reduce")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none" or reached[-1] in (
            "mode", "excerpt",
        )  # fmt: skip
    wanted = ["theme", "help-open", "mode", "excerpt", "screen", "stage-play", "stage-repeat"]
    assert [name for name in reached if name in wanted] == wanted
    page.locator("#stage-repeat").focus()
    page.keyboard.press("Space")  # with the keyboard's focus on a button, space presses it
    assert page.locator("#stage-repeat").get_attribute("aria-pressed") == "false"
    assert page.locator("#stage-play").get_attribute("data-playing") == "false"
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    assert page.evaluate("document.activeElement.id") == "help-close"
    page.get_by_label("Single-key shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    assert page.locator("#stage-shown").text_content() == "Original"  # the keys are off
    assert page.evaluate("getComputedStyle(document.getElementById('theme')).transitionDuration") == "0s"


def test_the_table_is_scrolled_by_arrows(open_page: Opener) -> None:
    page = open_page(width=360)
    page.locator("#compare .scroll").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    end = time.monotonic() + 15
    while page.evaluate("document.querySelector('#compare .scroll').scrollLeft") == 0:
        assert time.monotonic() < end, "the table stays where it is"
        page.wait_for_timeout(50)
    assert page.locator("#clock").text_content().startswith("0:00.0")


def test_space_that_is_held_toggles_once(open_page: Opener) -> None:
    page = open_page()
    page.locator("#screen").focus()
    for _ in range(4):
        page.keyboard.down("Space")  # from the second on they are repetitions
    page.keyboard.up("Space")
    page.locator("#stage-play[data-playing=true]").wait_for()


def test_the_focus_stays_where_buttons_go(open_page: Opener) -> None:
    page = open_page(fragment="#seed=1")

    def press(selector: str) -> str:
        page.locator(selector).focus()
        page.keyboard.press("Enter")
        return page.evaluate("document.activeElement.id || document.activeElement.dataset.pad || 'nothing'")

    start_abx(page)
    page.keyboard.press("x")
    assert press("#abx-is-a") == "a"  # the first pad
    assert press("#abx-stop") == "abx-verdict"
    assert press("#abx-again") == "abx-start"
    assert press("#abx-start") == "a"
    assert press("#abx-stop") == "abx-start"
    page.get_by_role("radio", name="Blind rating").check()
    assert press("#rate-start") == "rate-reference"
    assert press("#rate-stop") == "rate-start"


def test_what_cannot_be_played_is_said_until_something_can(visits: Visits, tmp_path: Path) -> None:
    write_page([excerpt(0), excerpt(1)], tmp_path / "page.html", title="Broken")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    first = text.index('id="flac-0-1">') + len('id="flac-0-1">')
    (tmp_path / "page.html").write_text(text[:first] + "AAAA" + text[first + 4 :], encoding="utf-8")
    page = visits(tmp_path / "page.html")
    page.locator("#stage-play").click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "cannot play" in alert.text_content()
    page.get_by_role("radio", name="Song 1").check()
    assert not alert.is_visible()


def test_every_control_has_a_name(open_page: Opener) -> None:
    page = open_page()
    for mode in ("Compare", "ABX test", "Blind rating"):
        page.get_by_role("radio", name=mode).check()
        if mode != "Compare":
            page.get_by_role("button", name="Start").click()
        for role in ("button", "slider", "combobox", "checkbox", "radio"):
            for control in page.get_by_role(role).all():
                name = control.evaluate(
                    "(element) => element.ariaLabel || element.textContent || element.labels?.[0]?.textContent || ''"
                )
                assert name.strip(), control.evaluate("(element) => element.outerHTML")
        if mode != "Compare":
            page.get_by_role("button", name="Stop").click()


def test_the_difference_is_painted(open_page: Opener) -> None:
    page = open_page()

    def painted() -> npt.NDArray[np.float32]:
        _, text = page.evaluate("spectrum.toDataURL()").split(",")
        return matplotlib.image.imread(io.BytesIO(base64.b64decode(text))).reshape(-1, 4)

    page.keyboard.press("2")
    plain = painted()
    page.keyboard.press("d")
    assert page.locator(".legend").is_visible()
    assert len(np.unique(painted(), axis=0)) == 1 < len(np.unique(plain, axis=0))  # that take equals the original
    page.keyboard.press("3")
    assert len(np.unique(painted(), axis=0)) > 1
    page.keyboard.press("d")
    page.keyboard.press("2")
    np.testing.assert_array_equal(painted(), plain)


def widths(page: Any) -> tuple[int, int]:
    return page.evaluate("[document.documentElement.scrollWidth, innerWidth]")


def test_a_phone_s_width_is_enough(open_page: Opener, tmp_path: Path) -> None:
    write_page(hostile_excerpts(), tmp_path / "hostile.html", title=HOSTILE[3], about=HOSTILE[3])
    for path in (None, tmp_path / "hostile.html"):
        page = open_page(*([path] if path else []), width=360)
        for mode in ("Compare", "ABX test", "Blind rating"):
            page.get_by_role("radio", name=mode).check()
            if mode != "Compare":
                page.get_by_role("button", name="Start").click()
            assert widths(page) == [360, 360], (path, mode)
            if mode != "Compare":
                page.get_by_role("button", name="Stop").click()
        page.locator("#help-open").click()
        assert widths(page) == [360, 360]


def test_hostile_names_do_nothing(open_page: Opener, tmp_path: Path) -> None:
    """Every text is shown as it is in every mode, and no element comes of it; the fixture sees dialogs and errors."""
    write_page(hostile_excerpts(), tmp_path / "page.html", title=HOSTILE[1], about=HOSTILE[0])
    page = open_page(tmp_path / "page.html", fragment="#seed=1")
    assert page.title() == " ".join(HOSTILE[1].split())
    for name in HOSTILE:
        assert name in [found.text_content() for found in page.locator(".take .name").all()]
    for key in "2345":
        page.keyboard.press(key)
    assert page.locator("#stage-shown").text_content() == HOSTILE[3]
    page.get_by_role("radio", name="ABX test").check()
    page.locator("#abx-b").select_option(label=HOSTILE[0])
    page.locator("#abx-start").click()
    assert page.locator("#abx-name-b").text_content() == HOSTILE[0]
    page.locator("#abx-stop").click()
    page.get_by_role("radio", name="Blind rating").check()
    page.locator("#rate-start").click()
    for slider in page.locator("#rate-list input").all():
        slider.fill("50")
    page.locator("#rate-finish").click()
    assert {row.locator("td").nth(1).text_content() for row in page.locator("#rate-found tr").all()} >= set(HOSTILE)
    assert page.locator("img, iframe, [onerror]").count() == 0
    assert page.locator("script:not([type])").count() == 2
