"""An evaluation as JUnit XML, which CI systems show as a list of tests."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from heartopt.evaluation import Evaluation
from heartopt.evaluation.gate import Regression, Verdict
from heartopt.files import write_text
from heartopt.report.gate import describe
from heartopt.report.tables import cell

# XML 1.0 has no other characters, not even as references; a file name may have them.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PROPERTIES = ("heartopt", "codec", "fingerprint", "projection", "judge_seeds", "seed")


def write_junit(evaluation: Evaluation, path: str | Path, verdict: Verdict | None = None) -> None:
    """Write `junit_xml`, atomically. Raises OutputError."""
    write_text(path, junit_xml(evaluation, verdict))


def junit_xml(evaluation: Evaluation, verdict: Verdict | None = None) -> str:
    """One test case for each system and metric.

    With a verdict of the regression gate, its comparisons are the cases, and those that fail it are failures that
    give the numbers. Without one the cases are the means, and none can fail. What could not be judged is an error
    either way, one case for each file and system. Characters that XML cannot hold are written as `\\x1b`.
    """
    suite = ElementTree.Element("testsuite", name=_text(evaluation.suite))
    properties = ElementTree.SubElement(suite, "properties")
    for key in _PROPERTIES:
        if key in evaluation.settings:
            ElementTree.SubElement(properties, "property", name=key, value=_text(str(evaluation.settings[key])))
    suite.extend(_means(evaluation) if verdict is None else _comparisons(evaluation.suite, verdict))
    for entry in evaluation.failed:
        case = _case(evaluation.suite, entry.system or "song", entry.file)
        ElementTree.SubElement(case, "error", type="failed", message=_text(entry.error))
        suite.append(case)
    counts = {
        "tests": str(len(suite.findall("testcase"))),
        "failures": str(len(suite.findall("testcase/failure"))),
        "errors": str(len(suite.findall("testcase/error"))),
        "skipped": str(len(suite.findall("testcase/skipped"))),
    }
    suite.attrib.update(counts)
    root = ElementTree.Element("testsuites", {"name": "heartopt evaluate", **counts})
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _comparisons(suite: str, verdict: Verdict) -> Iterator[ElementTree.Element]:
    for entry in verdict.comparisons:
        case = _case(suite, entry.system, entry.metric)
        if isinstance(entry, Regression):
            kind = "missing" if not math.isfinite(entry.low) else "regression"
            ElementTree.SubElement(case, "failure", type=kind, message=_text(describe(entry)))
        else:
            ElementTree.SubElement(case, "system-out").text = _text(describe(entry))
        yield case


def _means(evaluation: Evaluation) -> Iterator[ElementTree.Element]:
    for entry in evaluation.summary:
        case = _case(evaluation.suite, entry.system, entry.metric)
        if math.isfinite(entry.mean):
            mean, low, high = (cell(value, entry.metric) for value in (entry.mean, entry.low, entry.high))
            text = f"{entry.metric} of {entry.system}: {mean} [{low}, {high}]"
            ElementTree.SubElement(case, "system-out").text = _text(text)
        else:
            ElementTree.SubElement(case, "skipped", message="no number on any file")
        yield case


def _case(suite: str, system: str, name: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=_text(f"{suite}.{system}"), name=_text(name))


def _text(text: str) -> str:
    return _NO_XML.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
