"""The page's text: self-contained, under its policy, escaped whatever things are called, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from heartopt.audio import read_audio, stereo
from heartopt.errors import ConfigError, OutputError
from heartopt.evaluation.controls import matched_noise
from heartopt.report.listening import Excerpt, Take, write_page
from heartopt.report.listening.page import SCRIPTS, render
from heartopt.report.listening.takes import checked

from .conftest import HOSTILE, QUANTITIES, excerpt, hostile_excerpts

EXCERPTS = Path(__file__).parents[3] / "benchmarks/suites/excerpts"


VOID = {"meta", "link", "input", "img", "br", "hr"}


class Parsed(HTMLParser):
    """Elements with their attributes, and the text directly in each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(len(self.elements))
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag  # every element is closed in its turn

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] += data

    def find(self, tag: str, **wanted: str) -> list[tuple[dict[str, str | None], str]]:
        pairs = {key.rstrip("_").replace("_", "-"): value for key, value in wanted.items()}.items()
        return [
            (attributes, text)
            for (name, attributes), text in zip(self.elements, self.texts, strict=True)
            if name == tag and pairs <= attributes.items()
        ]

    @property
    def data(self) -> dict[str, Any]:
        ((_, text),) = self.find("script", id="data")
        return json.loads(text)


def parsed(path: Path) -> Parsed:
    return Parsed(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    path = tmp_path_factory.mktemp("hostile") / "page.html"
    write_page(hostile_excerpts(), path, title=HOSTILE[1], about=HOSTILE[0])
    return parsed(path)


def test_the_page_holds_every_sound(page_path: Path) -> None:
    page = parsed(page_path)
    assert [entry["title"] for entry in page.data["excerpts"]] == ["Song 0", "Song 1"]
    for number, entry in enumerate(page.data["excerpts"]):
        original = excerpt(number)
        audios = [original.original, *(take.audio for take in original.takes)]
        for sound, audio in zip(entry["sounds"], audios, strict=False):
            ((_, text),) = page.find("script", id=sound["flac"])
            samples, rate = soundfile.read(io.BytesIO(base64.b64decode(text)), always_2d=True)
            assert rate == 48_000
            np.testing.assert_allclose(samples.T * sound["scale"], audio.numpy(), atol=1 / 32768)


def test_everything_is_inside(page_path: Path) -> None:
    page = parsed(page_path)
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)
    assert {tag for tag, _ in page.elements}.isdisjoint({"iframe", "object", "embed", "audio", "video", "base"})


def test_the_policy_allows_the_page_s_own_script_and_style_only(page_path: Path) -> None:
    page = parsed(page_path)
    ((attributes, _),) = page.find("meta", http_equiv="Content-Security-Policy")
    policy = dict(rule.split(" ", 1) for rule in (attributes["content"] or "").split("; "))
    assert policy["default-src"] == "'none'" and policy["img-src"] == "data:"

    def hashes(texts: list[str]) -> str:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    scripts = [text for attributes, text in page.find("script") if "type" not in attributes]
    assert policy["script-src"] == hashes(scripts) and len(scripts) == 2
    assert policy["style-src"] == hashes([text for _, text in page.find("style")])
    assert not [attributes for _, attributes in page.elements if "style" in attributes]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_the_table_has_units_directions_and_words(page_path: Path) -> None:
    page = parsed(page_path)
    columns = [attributes for attributes, _ in page.find("th", scope="col") if "data-name" in attributes]
    headings = {attributes["data-name"]: attributes for attributes in columns}
    assert list(headings) == ["system", "excerpt", "tier", "stft", "si_sdr", "shimmer_db", "pesq_wb"]
    assert headings["si_sdr"]["data-better"] == "higher" and headings["shimmer_db"]["data-better"] == "zero"
    cells = [text for _, text in page.find("td")]
    assert "9.5" in cells and "not installed" in cells
    tiers = page.find("span", class_="tier fair")
    assert tiers and {text for _, text in tiers} == {"Fair"}


def test_hostile_names_are_text(hostile: Parsed) -> None:
    """They make no element and no attribute, and come through letter by letter."""
    benign = [
        Excerpt(f"excerpt {place}", f"excerpt {place}", entry.original, [
            Take(f"take {index}", take.audio, {f"take {index}": 1.0, "stft": "word"}, f"tier {index}")
            for index, take in enumerate(entry.takes)
        ])
        for place, entry in enumerate(hostile_excerpts())
    ]  # fmt: skip
    plain = Parsed(render(checked(benign), title="title", quantities={}, about="about", anchor=True))
    shape = [(tag, sorted(attributes)) for tag, attributes in hostile.elements]
    assert shape == [(tag, sorted(attributes)) for tag, attributes in plain.elements]
    assert [sound["system"] for sound in hostile.data["excerpts"][0]["sounds"]][1:-1] == list(HOSTILE)
    assert hostile.data["title"] == HOSTILE[1]
    assert {text for _, text in hostile.find("h1")} == {HOSTILE[1]}


def test_the_data_island_cannot_end_early(hostile: Parsed) -> None:
    ((_, text),) = hostile.find("script", id="data")
    assert not set("<>&\u2028\u2029") & set(text)


def test_the_same_excerpts_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_page([excerpt(0, seconds=0.5)], tmp_path / name, title="x")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_mono_is_shown_as_mono(tmp_path: Path) -> None:
    mono = torch.rand(1, 9_600) - 0.5
    takes = [Take("one", mono, {}), Take("two", torch.rand(2, 9_600) - 0.5, {})]
    write_page([Excerpt("a", "A", mono.repeat(2, 1), takes)], tmp_path / "a.html", title="x", anchor=False)
    page = parsed(tmp_path / "a.html")
    assert [text for _, text in page.find("span", class_="note")] == ["mono", "", ""]
    assert [text for _, text in page.find("span") if text in ("mono", "stereo")] == ["mono", "stereo"]
    for name, channels in (("flac-0-0", 1), ("flac-0-1", 1), ("flac-0-2", 2)):
        ((_, text),) = page.find("script", id=name)
        assert soundfile.info(io.BytesIO(base64.b64decode(text))).channels == channels


def test_thirty_milliseconds_and_one_sample_make_a_page(tmp_path: Path) -> None:
    for samples in (1, 1_440):
        audio = torch.rand(2, samples) - 0.5
        write_page([Excerpt("a", "A", audio, [Take("one", audio / 2, {})])], tmp_path / "a.html", title="x")
        assert parsed(tmp_path / "a.html").data["excerpts"][0]["samples"] == samples


def test_what_is_refused_leaves_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(ConfigError, match="at least one excerpt"):
        write_page([], path, title="x")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"):
        write_page([excerpt(0, seconds=0.1)], tmp_path / "page.html" / "page.html", title="x")


def test_the_package_carries_the_page_s_parts() -> None:
    assets = resources.files("heartopt.report.listening") / "assets"
    names = {entry.name for entry in assets.iterdir()}
    assert names == {f"{name}.js" for name in (*SCRIPTS, "theme")} | {
        "page.css", "page.html.j2", "blind.html.j2", "help.html.j2",
    }  # fmt: skip
    for name in names:
        lines = (assets / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 300, name
        assert "</script" not in "".join(lines) or name.endswith(".j2")
        assert "</style" not in "".join(lines) or name.endswith(".j2")


def test_three_excerpts_of_eight_seconds_by_four_systems_are_small(tmp_path: Path) -> None:
    """One of the four is noise, which FLAC can hardly shorten."""
    excerpts = []
    for file in sorted(EXCERPTS.glob("*.flac")):
        original = stereo(read_audio(file))
        assert original.shape == (2, 8 * 48_000)
        audios = {
            "reversed": original.flip(-1),
            "hissing": original + 0.003 * torch.randn(original.shape, generator=torch.Generator().manual_seed(0)),
            "quieter": original.flip(0) / 2,
            "noise": matched_noise(original, 0),
        }
        takes = [Take(name, audio, {"stft": 1.0}, "Good") for name, audio in audios.items()]
        excerpts.append(Excerpt(file.name, file.stem, original, takes))
    assert len(excerpts) == 3
    write_page(excerpts, tmp_path / "page.html", title="Size", quantities=QUANTITIES)
    size = (tmp_path / "page.html").stat().st_size
    assert 5e6 < size < 25e6
