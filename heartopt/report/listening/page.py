"""The listening page: one HTML file that needs no network, made from excerpts and their takes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from heartopt.audio import SAMPLE_RATE
from heartopt.files import write_text
from heartopt.metrics import QUANTITIES, TIERS, Quantity
from heartopt.report.listening import picture
from heartopt.report.listening.entries import base64_of, excerpt_entry
from heartopt.report.listening.table import make_table
from heartopt.report.listening.takes import Excerpt, checked, drawable

#: The parts of the page's script in their order. They share one closure: nothing of it is global.
SCRIPTS = ("chance", "sound", "player", "draw", "screen", "table", "abx", "rating", "keys", "stage")
_TIER_NAMES = tuple(tier.name for tier in TIERS)


def write_page(
    excerpts: Sequence[Excerpt],
    path: str | os.PathLike[str],
    *,
    title: str,
    quantities: Mapping[str, Quantity] = QUANTITIES,
    about: str = "",
    anchor: bool = True,
) -> None:
    """Write the listening page, atomically.

    Everything is in the file: FLAC of 16 bits, spectrograms, style, script. A policy in it forbids all requests.
    Three excerpts of 8 s with the original and four systems make about 15 MB. The same excerpts give the same file.

    Args:
        excerpts: what is listened to. A take that is longer than its original is cut; a shorter one ends in silence.
        path: the HTML file.
        title: of the page.
        quantities: what is known of the takes' metrics: unit, decimals, better direction.
        about: a sentence below the title.
        anchor: include a low-passed original (3.5 kHz) for blind ratings.

    Raises:
        ConfigError: no excerpts, an excerpt without takes, or a name used twice.
        AudioError: audio of another shape than `[C, N]` with one or two channels, empty, or not finite.
        OutputError: the file cannot be written.
    """
    write_text(path, render(checked(excerpts), title=title, quantities=quantities, about=about, anchor=anchor))


def render(
    excerpts: Sequence[Excerpt], *, title: str, quantities: Mapping[str, Quantity], about: str, anchor: bool
) -> str:
    """The page's text; `excerpts` as `checked` gives them."""
    records: list[dict[str, Any]] = []
    flacs: dict[str, str] = {}
    for number, excerpt in enumerate(excerpts):
        record, found = excerpt_entry(excerpt, number, anchor=anchor)
        records.append(record)
        flacs |= found
    data = {
        "title": drawable(title),
        "rate": SAMPLE_RATE,
        "range_db": picture.RANGE_DB,
        "excerpts": records,
    }
    style, theme, script = _asset("page.css"), _asset("theme.js"), _script()
    return _environment().get_template("page.html.j2").render(
        title=drawable(title),
        about=drawable(about),
        excerpts=excerpts,
        systems=len({take.system for excerpt in excerpts for take in excerpt.takes if not take.control}),
        table=make_table(excerpts, quantities),
        tiers=TIERS,
        any_tier=any(take.tier for excerpt in excerpts for take in excerpt.takes),
        tier_chip=_tier_chip,
        tier_rank=_tier_rank,
        bands=picture.shimmer_bands(),
        ticks=picture.TICKS_HZ,
        height_of=picture.height_of,
        data=htmlsafe_json_dumps(data, allow_nan=False, separators=(",", ":")),
        flacs=flacs,
        style=Markup(style),
        theme=Markup(theme),
        script=Markup(script),
        policy=_policy(style, theme, script),
    )  # fmt: skip


def _tier_chip(tier: str) -> Markup:
    """A tier's word in its colour; words that are no tier are plain."""
    kind = tier.lower() if tier in _TIER_NAMES else "other"
    return Markup('<span class="tier {}">{}</span>').format(kind, drawable(tier))


def _tier_rank(tier: str | None) -> int:
    """What the column of tiers is sorted by: best first, none last."""
    return _TIER_NAMES.index(tier) if tier in _TIER_NAMES else len(_TIER_NAMES)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(__package__ or "", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _script() -> str:
    parts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();\n'


def _policy(style: str, *scripts: str) -> str:
    """The page's Content-Security-Policy: its own style and scripts, by their hashes; its own pictures; no requests."""
    allowed = " ".join(_hash(text) for text in scripts)
    rules = ("default-src 'none'", f"script-src {allowed}", f"style-src {_hash(style)}", "img-src data:")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


def _hash(text: str) -> str:
    return f"'sha256-{base64_of(hashlib.sha256(text.encode('utf-8')).digest())}'"
