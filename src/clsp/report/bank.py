"""The verdict on the bank, on top of the page: whether its candidates were worth training on, and how that was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clsp.report.folder import mapping
from clsp.report.html import Html, code, details, element, join, paragraph, table
from clsp.report.numbers import fixed, words
from clsp.report.study import Study

PASSED = (
    "The bank passed: judged by the images alone, its candidates look like the data and follow their anchors. Whether"
    " they help, labels alone can tell."
)


def bank_verdict(study: Study) -> Html:
    """What was said of the bank before an encoder was trained, what followed from it, and the measures, folded away."""
    gate = mapping(study.result.get("gate"))
    if not gate:
        facts = mapping(study.folder.stages.get("positives", {}).get("facts"))
        gate = mapping(facts.get("verdict"))
    if "passed" not in gate:
        return Html()
    warned = [paragraph(_sentence(str(text))) for text in gate.get("warnings") or ()]
    if gate["passed"]:
        return join([paragraph(PASSED), *warned, _measures(gate)])
    reasons = element("ul", [element("li", _sentence(str(text))) for text in gate.get("reasons") or ()])
    return join([paragraph(element("strong", _failed(gate))), reasons, *warned, _what_to_do(gate), _measures(gate)])


def _failed(gate: Mapping[str, Any]) -> str:
    left_out = [str(name) for name in gate.get("left_out") or ()]
    lead = "The bank failed: its candidates are of no use for an encoder."
    if left_out:
        near = f" Near images stood in for its candidates: {gate['instead']}." if gate.get("instead") else ""
        return f"{lead} It was not trained on; left out: {', '.join(left_out)}.{near}"
    return f"{lead} It was trained on all the same; take its numbers for what they are."


def _what_to_do(gate: Mapping[str, Any]) -> Html:
    advice = str(gate.get("advice") or "")
    command = str(gate.get("command") or "")
    if not advice:
        return Html()
    return join([paragraph(_sentence(advice)), code(command) if command else ""])


def _measures(gate: Mapping[str, Any]) -> Html:
    """Each measure with its line and its meaning."""
    rows = []
    for name, found in mapping(gate.get("measures")).items():
        one = mapping(found)
        line = f"{one.get('good')} {fixed(one.get('line'))}"
        rows.append([words(name), fixed(one.get("value")), line, str(one.get("meaning") or "")])
    if not rows:
        return Html()
    return details(
        "How the bank was judged", table(["Measure", "Value", "Passes with", "Meaning"], rows, class_="words")
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
