"""The folders of songs: enough of them, readable, without copies, and nothing judged that was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

from heartopt.doctor.check import Check, Examples, length, reason, shown
from heartopt.doctor.songs import Survey, contents, repeated, survey
from heartopt.training.split import FEW_FILES

#: Clips to judge by: fewer tell little, more take long to decode.
CLIPS = range(5, 9)
_LISTED = 5
_CHANNELS = {1: "mono", 2: "stereo"}
_LOOKED_AT = "header and first samples only: silence and later damage show in train"

Told = Callable[[str, int], None]
Entry = TypeVar("Entry", bound=Hashable)


def data_checks(source: Path, told: Told) -> tuple[list[Check], Survey | None]:
    """The training songs: how many, which of them do not open, which are there twice."""
    name = "data folder"
    try:
        found = survey(source, lambda done: told("reading headers", done))
    except Exception as error:  # no such folder, or one that cannot be listed
        return [Check(name, "failed", reason(error), "check --data-dir")], None
    if not found.usable:
        return [_nothing(name, found, "--data-dir"), *_unusable("data files", found)], found
    if found.usable < FEW_FILES:
        remedy = f"add songs: a projection generalizes from {FEW_FILES} on"
        folder = Check(name, "warning", f"{summary(found)}; fewer than {FEW_FILES} files", remedy)
    else:
        folder = Check(name, "ok", summary(found))
    return [folder, *_unusable("data files", found), _copies(found, told)], found


def validation_checks(source: Path, data: Survey | None, told: Told) -> tuple[list[Check], Survey | None]:
    """The clips that are judged: 5 to 8, none of them among the training songs."""
    name = "validation folder"
    try:
        found = survey(source, lambda done: told("reading headers", done))
    except Exception as error:
        return [Check(name, "failed", reason(error), "check --val-dir")], None
    if not found.usable:
        return [_nothing(name, found, "--val-dir"), *_unusable("validation files", found)], found
    folder = Check(name, "ok", summary(found))
    if found.usable not in CLIPS:
        rule = f"{CLIPS[0]} to {CLIPS[-1]} clips"
        why = "few clips tell little" if found.usable < CLIPS[0] else "each is decoded at each validation"
        folder = Check(name, "warning", f"{summary(found)}; not {rule}", f"have {rule} of different genres: {why}")
    checks = [folder, *_unusable("validation files", found)]
    if data is not None and data.usable:
        checks.append(_overlap(data, found, told))
    return checks, found


def summary(found: Survey) -> str:
    """Files, hours, formats, rates and channels in a line."""
    rates = Counter({f"{rate / 1000:g} kHz": count for rate, count in found.rates.items()})
    channels = Counter({_CHANNELS[number]: count for number, count in found.channels.items()})
    lasting = length(found.seconds)
    if found.unmeasured:
        lasting += f" and {found.unmeasured} of unknown length"
    kinds = "; ".join(_listed(counter) for counter in (found.kinds, rates, channels))
    return f"{shown(found.source)}: {found.usable} usable of {found.files} files, {lasting}; {kinds}"


def _listed(counter: Counter[str]) -> str:
    common = [f"{entry} {count}" for entry, count in counter.most_common(_LISTED)]
    rest = sum(counter.values()) - sum(count for _, count in counter.most_common(_LISTED))
    return ", ".join([*common, f"others {rest}"] if rest else common)


def _nothing(name: str, found: Survey, flag: str) -> Check:
    what = f"none of {found.files} files can be used" if found.files else "no audio files in it"
    return Check(name, "failed", f"{shown(found.source)}: {what}", f"name a folder of songs with {flag}")


def _unusable(name: str, found: Survey) -> list[Check]:
    """No check where there are no files."""
    if found.problems.count:
        detail = f"{found.problems.count} of {found.files} have problems: {found.problems} ({_LOOKED_AT})"
        return [Check(name, "warning", detail, "convert or replace them; train skips and lists what it cannot read")]
    return [Check(name, "ok", f"all {found.files} open ({_LOOKED_AT})")] if found.files else []


def _copies(found: Survey, told: Told) -> Check:
    first: dict[str, str] = {}
    copies = Examples()
    for digest, path in contents(found.source, repeated(found.sizes), lambda done: told("comparing contents", done)):
        own = shown(path, found.source)
        if (other := first.setdefault(digest, own)) != own:
            copies.add(f"{own} is {other}")
    if copies.count:
        detail = f"copies of other files: {copies.count} ({copies})"
        return Check("data copies", "warning", detail, "remove them; train reads each content once")
    return Check("data copies", "ok", "no two files have the same content")


def _overlap(data: Survey, judged: Survey, told: Told) -> Check:
    """Train holds shared songs out, so they cost training songs; only where none are left does it refuse."""
    name = "validation overlap"
    sizes = set(data.sizes) & set(judged.sizes)

    def comparing(done: int) -> None:
        told("comparing contents", done)

    clips = dict(contents(judged.source, sizes, comparing))
    shared = Examples()
    for digest, path in contents(data.source, sizes if clips else (), comparing):
        if digest in clips:
            song, clip = shown(path, data.source), shown(clips[digest], judged.source)
            shared.add(song if song == clip else f"{song} is {clip}")
    if not shared.count:
        return Check(name, "ok", "no clip is among the training songs")
    detail = f"training songs that are also clips: {shared.count} ({shared})"
    if shared.count >= data.usable:
        return Check(name, "failed", f"{detail}; none is left to train on", "give other clips with --val-dir")
    return Check(name, "warning", detail, "remove them from one folder; train does not train on them")
