"""Small excerpts that are told apart by ear and by correlation, and a real browser to open their page in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from heartopt.metrics import Quantity
from heartopt.report.listening import Excerpt, Take, write_page

RATE = 48_000
# What a user may have called a file or a system.
HOSTILE = (
    "<img src=x onerror=alert(1)>.wav",
    "\"'></script><script>alert(2)</script>",
    "a\u2028b\u2029c{{ 7 * 7 }}{% raw %}",
    "<!--<script>" + "w" * 120,
)
QUANTITIES = {
    "stft": Quantity("stft", "Distance of spectra.", "", "lower", 2),
    "si_sdr": Quantity("si_sdr", "Signal over distortion.", "dB", "higher", 1),
    "shimmer_db": Quantity("shimmer_db", "Energy of the band.", "dB", "zero", 1),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def noise(seed: int, *, seconds: float, channels: int = 2, level: float = 0.1) -> Tensor:
    """White noise `[C, N]`."""
    generator = torch.Generator().manual_seed(seed)
    return level * torch.randn(channels, round(seconds * RATE), generator=generator)


def excerpt(number: int = 0, *, seconds: float = 0.5) -> Excerpt:
    """An original, the same again, two others (one 6 dB quieter), and a control."""
    original, other, quiet, control = (noise(10 * number + seed, seconds=seconds) for seed in range(4))
    values = [
        {"stft": 0.0, "si_sdr": 9.5, "shimmer_db": 0.25, "pesq_wb": "not installed"},
        {"stft": 2.5, "si_sdr": -3.0, "shimmer_db": -6.0},
        {"stft": 10.25, "si_sdr": None, "shimmer_db": 2.0},
        {"stft": 6.5, "si_sdr": float("nan")},
    ]
    takes = (
        Take("same", original.clone(), values[0], "Excellent"),
        Take("other", other, values[1], "Fair"),
        Take("quiet", quiet / 2, values[2], "Poor"),
        Take("noise", control, values[3], "Poor", control=True),
    )
    return Excerpt(f"song-{number}.flac", f"Song {number}", original, takes)


def hostile_excerpts() -> list[Excerpt]:
    """Names that would be markup, code or templates, if anything took them for it."""
    short = noise(0, seconds=0.5)
    takes = [Take(name, short, {name: 1.0, "stft": name}, name) for name in HOSTILE]
    return [Excerpt(name, name, short, takes) for name in HOSTILE[:2]]


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two excerpts."""
    path = tmp_path_factory.mktemp("page") / "listening page.html"
    write_page([excerpt(0), excerpt(1)], path, title="Two songs", quantities=QUANTITIES, about="For the tests.")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium. Without one the tests are skipped, or fail where HEARTOPT_NEED_BROWSER=1 is set."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        reason = "no Chromium (or no playwright) is installed"
        if os.environ.get("HEARTOPT_NEED_BROWSER") == "1":
            pytest.fail(f"{reason}, but HEARTOPT_NEED_BROWSER=1")
        pytest.skip(reason)
    arguments = ["--autoplay-policy=no-user-gesture-required", "--disable-gpu"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


# Whatever is connected to the loudspeaker is also recorded: the last 32768 samples, mixed to mono.
TAP = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target instanceof AudioDestinationNode) {
    window.tap ??= new AnalyserNode(target.context, { fftSize: 32768 });
    connect.call(this, window.tap);
  }
  return connect.call(this, target, ...rest);
};
"""
Opener = Callable[..., Any]


class Visits:
    """Opens pages, and notes everything they should not do: errors, messages, dialogs, requests for other files."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.browser, self.path = browser, path
        self.contexts: list[Any] = []
        self.found: list[str] = []

    def __call__(self, path: Path | None = None, *, fragment: str = "", width: int = 1100, **options: Any) -> Any:
        context = self.browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.contexts.append(context)
        context.add_init_script(TAP)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: self.found.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.found.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._request(request.url))
        page.goto((path or self.path).as_uri() + fragment)
        page.locator("#ruler span").first.wait_for()  # the pictures are there
        return page

    def _request(self, address: str) -> None:
        if not address.startswith(("file:", "data:", "blob:")):
            self.found.append(f"request: {address}")


@pytest.fixture(scope="module")
def visits(browser: Any, page_path: Path) -> Visits:
    """Opens pages that stay open while a module's tests run."""
    return Visits(browser, page_path)


@pytest.fixture
def open_page(visits: Visits) -> Iterator[Opener]:
    """Opens pages for one test. In the end no page may have done what it should not."""
    before = len(visits.contexts)
    yield visits
    for context in visits.contexts[before:]:
        context.close()
    del visits.contexts[before:]
    found, visits.found = visits.found, []
    assert found == []


def chance(seed: int) -> Iterator[float]:
    """The page's numbers for `#seed=N`: xorshift by 13, 17, 5 on 32 bits."""
    state = ((seed + 1) * 0x9E3779B1) & 0xFFFFFFFF
    while True:
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        yield state / 2**32


def hidden_answers(seed: int, trials: int, *, after: int = 0) -> list[str]:
    numbers = chance(seed)
    return ["a" if next(numbers) < 0.5 else "b" for _ in range(after + trials)][after:]


def shuffled(items: list[str], seed: int) -> list[str]:
    numbers, result = chance(seed), list(items)
    for last in range(len(items) - 1, 0, -1):
        other = int(next(numbers) * (last + 1))
        result[last], result[other] = result[other], result[last]
    return result


def start_abx(page: Any, *, a: str = "Original", b: str = "other", trials: int = 8, tell: bool = False) -> None:
    page.get_by_role("radio", name="ABX test").check()
    page.locator("#abx-a").select_option(label=a)
    page.locator("#abx-b").select_option(label=b)
    page.locator("#abx-trials").select_option(str(trials))
    page.locator("#abx-tell").set_checked(tell)
    page.locator("#abx-start").click()
