"""The style sheet: enough contrast (WCAG 2.2 AA) in both themes, and nothing fetched from elsewhere."""

from __future__ import annotations

import re
from importlib import resources

import pytest

STYLE = (resources.files("heartopt.report.listening") / "assets/page.css").read_text(encoding="utf-8")
TEXT, GRAPHIC = 4.5, 3.0  # WCAG 1.4.3 and 1.4.11

TEXTS = [
    ("--ink", "--paper"), ("--ink", "--sheet"), ("--ink", "--tint"),
    ("--soft", "--paper"), ("--soft", "--sheet"), ("--soft", "--tint"),
    ("--accent", "--paper"), ("--accent", "--sheet"), ("--accent", "--tint"),
    ("--on-accent", "--accent"), ("--on-picture", "--halo"), ("--poor", "--paper"), ("--poor", "--sheet"),
    *((f"--{tier}", f"--{tier}-tint") for tier in ("excellent", "good", "fair", "poor")),
]  # fmt: skip
GRAPHICS = [
    ("--edge", "--paper"), ("--edge", "--sheet"), ("--accent", "--sheet"), ("--wave", "--sheet"),
    ("--head", "--sheet"), ("--head", "--level-0"), ("--excellent", "--paper"), ("--poor", "--paper"),
    ("--less-2", "--level-0"), ("--more-2", "--level-0"),
]  # fmt: skip


def colours(theme: str) -> dict[str, str]:
    selector = {"light": ":root {", "dark": ':root[data-theme="dark"] {'}[theme]
    block = STYLE.split(selector, 1)[1].split("}", 1)[0]
    return dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", block))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_the_standard_s() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(theme: str) -> None:
    found = colours(theme)
    low = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in TEXTS}
    assert {pair: value for pair, value in low.items() if value < TEXT} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_controls_and_marks_can_be_seen(theme: str) -> None:
    found = colours(theme)
    low = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in GRAPHICS}
    assert {pair: value for pair, value in low.items() if value < GRAPHIC} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_louder_is_further_from_the_ground(theme: str) -> None:
    found = colours(theme)
    steps = [luminance(found[f"--level-{level}"]) for level in range(5)]
    assert steps == sorted(steps, reverse=theme == "light")


def test_both_themes_have_every_colour() -> None:
    assert colours("light").keys() == colours("dark").keys()
    assert set(re.findall(r"var\((--[\w-]+)\)", STYLE)) <= colours("light").keys()


def test_nothing_is_fetched() -> None:
    assert not re.search(r"url\(|@import|@font-face|https?:", STYLE)
