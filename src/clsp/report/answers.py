"""The first screen: is the encoder sound, was the bank worth its cost, and what to do next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsp.evaluation.spread import COLLAPSED, FEW_DIRECTIONS, UNSURE
from clsp.recipes.arms import DIFFUSION
from clsp.report.folder import mapping
from clsp.report.html import Content, Html, code, element, join, paragraph
from clsp.report.numbers import duration, fixed, is_number, signed
from clsp.report.results import clear
from clsp.report.study import Measured, Study
from clsp.text import option_in

GOOD, DOUBTFUL, BAD = "good", "doubtful", "bad"
"""What a verdict says, which is also the CSS class of its words."""
SHORT, UNKNOWN = "Doubtful: it hardly tells single images apart", "Not known"
"""Verdicts that a command can change."""

_UNLABELLED = (
    "Labels tell, and these images have none. A run of labelled images (--images.labels FILE, or a folder a class) "
    "trains what the bank is compared with as well."
)


@dataclass(frozen=True)
class Answer:
    """A question with its verdict in two or three words, and what it rests on."""

    question: str
    kind: str
    verdict: str
    reasons: list[Content]


def answers(study: Study) -> Html:
    """The three answers; nothing where nothing was measured or found yet."""
    if not study.result:
        return Html()
    encoder, bank = _encoder(study), _bank(study)
    told = [one for one in (encoder, bank) if one is not None]
    blocks = [_block(one) for one in told]
    return element("div", [*blocks, _next(study, encoder, bank)], class_="answers") if told else Html()


def _block(one: Answer) -> Html:
    verdict = element("p", element("span", one.verdict, class_=f"verdict {one.kind}"))
    reasons = [paragraph(reason) for reason in one.reasons if reason]
    return element("div", [element("p", one.question, class_="title"), verdict, *reasons])


def _encoder(study: Study) -> Answer | None:
    """Whether the embeddings are sound, and better than naming one class."""
    found = study.folder.json("findings/findings.json")
    state = mapping(found.get("state"))
    numbers = {name: float(value) for name, value in state.items() if is_number(value)}
    reasons: list[Content] = [" ".join(str(line) for line in mapping(found.get("told")).get("state") or ())]
    measured = [sentence for one in study.telling.values() if (sentence := _above_one_class(study, one))]
    if not numbers and not measured:
        return None
    beaten = not measured or any(sentence.beaten for sentence in measured)
    reasons = [" ".join(sentence.text for sentence in measured), *reasons]
    kind, verdict = GOOD, "Yes" if measured else "Sound, as far as that shows without labels"
    if numbers.get("deviation", 1.0) < COLLAPSED:
        kind, verdict = BAD, "No: it has collapsed"
    elif not beaten:
        kind, verdict = BAD, "No: no better than naming one class always"
    elif numbers.get("effective_rank", FEW_DIRECTIONS) < FEW_DIRECTIONS:
        kind, verdict = DOUBTFUL, "Doubtful: it uses few directions"
    elif not measured and numbers.get("self_retrieval", 1.0) < UNSURE:  # with labels, classes say more
        kind, verdict = DOUBTFUL, SHORT
    return Answer("Is the encoder good?", kind, verdict, reasons)


@dataclass(frozen=True)
class _OneClass:
    """A measure beside what naming one class always gives."""

    text: str
    beaten: bool


def _above_one_class(study: Study, one: Measured) -> _OneClass | None:
    """Compare an accuracy of the main arm with the most frequent class; a balanced one with one class of all."""
    record = mapping(study.folder.evaluation.get(one.name))
    score = study.score(study.main, one.name) if study.main in study.rows else {}
    frequent, classes = record.get("most_frequent_class", _frequent(record)), record.get("classes")
    if one.quantity != "accuracy" or not is_number(score.get("mean")):
        return None
    if is_number(classes) and classes > 0:
        reached, text = 100 / classes, f"naming one of {classes} classes always gives {fixed(100 / classes)}\u00a0%."
    elif is_number(frequent):
        reached, text = float(frequent), f"the most frequent class makes {fixed(frequent)}\u00a0%."
    else:
        return None
    low = score["low"] if is_number(score.get("low")) else score["mean"]
    return _OneClass(f"{one.told} of {study.main}: {one.value(score['mean'])}; {text}", low > reached)


def _frequent(record: dict[str, Any]) -> float | None:
    """Which part of the images, in percent, the most frequent class makes, by the table of confusions of older runs."""
    matrix = record.get("confusion")
    rows = matrix if isinstance(matrix, list) and all(isinstance(row, list) for row in matrix) else []
    sizes = [sum(filter(is_number, row)) for row in rows]
    return 100 * max(sizes) / sum(sizes) if sizes and sum(sizes) else None


def _bank(study: Study) -> Answer | None:
    """Whether the arm with the bank is better than the arms without, beyond the intervals."""
    question = "Was the bank worth it?"
    gate = mapping(study.result.get("gate"))
    trained = [arm for arm in study.rows if arm != DIFFUSION and not study.sees_labels(arm)]
    drawn = [arm for arm in trained if study.generated(arm)]
    if not drawn:
        if gate and not gate.get("passed", True):
            return Answer(question, BAD, "No: it failed, and was left out", ["Why, and what to do, stands below."])
        return None
    arm = study.main if study.main in drawn else drawn[0]
    plain = _beside(study, arm)
    if not plain:
        line = "No arm without it was trained. --controls true trains two: the method alone, and a third view."
        return Answer(question, DOUBTFUL, UNKNOWN, [line if study.measures else _UNLABELLED])
    known = [(one, other) for one in study.telling.values() for other in plain]
    pairs = [(one, other) for one, other in known if is_number(study.gap(arm, one.name, other).get("mean"))]
    signs = [(other, _sign(study.gap(arm, one.name, other), one)) for one, other in pairs]
    kind, verdict = _judged([sign for _, sign in signs], [sign for other, sign in signs if other.endswith("+view")])
    told = [_difference(study, one, arm, other) for one, other in pairs]
    return Answer(question, kind, verdict, [element("ul", told) if told else "", _price(study, arm)])


def _beside(study: Study, arm: str) -> list[str]:
    """The arms without a generator that tell what it is worth: the method alone and its third view, else the first."""
    plain = [other for other in study.rows if not study.generated(other) and not study.sees_labels(other)]
    method = arm.partition("+")[0]
    return [other for other in plain if other in (method, f"{method}+view")] or plain[:1]


def _sign(gap: dict[str, float], one: Measured) -> int:
    """1: better beyond the interval; -1: worse; 0: not to be told."""
    if not clear(gap):
        return 0
    return one.sign if gap["low"] > 0 else -one.sign


def _judged(signs: list[int], control: list[int]) -> tuple[str, str]:
    """The verdict: the bank gains only what it gains over a third view, where one was trained; that costs no generator.

    Args:
        signs: of the differences to all arms without a generator.
        control: of those to the third view.
    """
    held = control or signs
    if -1 in signs:
        return (DOUBTFUL, "Better in some, worse in others") if 1 in held else (BAD, "No")
    if 1 in held:
        return GOOD, "Yes, in these numbers" if all(held) else "Yes, in some of these numbers"
    return DOUBTFUL, "No more than a third view, as far as can be told" if 1 in signs else "Cannot be told"


def _difference(study: Study, one: Measured, arm: str, other: str) -> Html:
    """A measure's difference with a word beside it: gain, loss, or noise."""
    gap = study.gap(arm, one.name, other)
    word, kind = {1: ("gain", GOOD), -1: ("loss", BAD), 0: ("noise", DOUBTFUL)}[_sign(gap, one)]
    limits = f" ({signed(gap['low'])} to {signed(gap['high'])})" if is_number(gap.get("low")) else ", one seed"
    text = f" {one.told}: {signed(gap['mean'])} against {other}{limits}"
    return element("li", [element("span", word, class_=f"verdict {kind}"), text])


def _price(study: Study, arm: str) -> str:
    seconds = [study.cost(arm, part, "seconds") for part in ("generator", "pretraining")]
    if not all(seconds):
        return ""
    return f"Diffusion model and bank took {duration(seconds[0])}, the encoder's training {duration(seconds[1])}."


def _next(study: Study, encoder: Answer | None, bank: Answer | None) -> Html:
    """What to type now, what is doubtful first."""
    place, steps = shlex.quote(_place(study)), list[tuple[str, str]]()
    source = shlex.quote(study.folder.source)
    if encoder is not None and encoder.verdict == SHORT:
        steps.append(("Train it longer:", f"clsp continue {place} --epochs 100 --out {place}-longer"))
    if bank is not None and bank.verdict == UNKNOWN and study.measures:
        steps.append(("Train the arms that tell what the bank is worth:", _again(study, "--controls true")))
    elif bank is not None and study.seeds < 2 and study.others:
        arms = ",".join([study.baseline, *study.others])
        recipe = f"{place}/recipe.yaml"
        call = f"clsp compare --data {source} --recipe {recipe} --methods {arms} --seeds 3 --out {place}-seeds"
        steps.append(("One seed is one throw of the dice. Repeat it with three:", call))
    steps.append(("Look through your images:", f"clsp explore {place}"))
    why, encoder_place = "Take the encoder away, for timm or as ONNX:", _place(study)
    if bank is not None and bank.kind == BAD and (better := _without(study)):
        why = f"Take the encoder of {better.parts[-2]} away, which needs no bank:"
        encoder_place = f"{encoder_place}/{better}"
    steps.append((why, f"clsp export --encoder {shlex.quote(encoder_place)} --out {place}-model"))
    written = [join([paragraph(why), code(call)]) for why, call in steps]
    return element("div", [element("p", "What next?", class_="title"), *written], class_="next")


def _place(study: Study) -> str:
    """The run's folder as its own command named it, from where the images are found, too; else its name."""
    words = shlex.split(str(study.folder.recipe.get("command") or ""))
    return option_in(words, "out") or study.folder.path.resolve().name


def _without(study: Study) -> Path | None:
    """The folder of an encoder that the bank was found to be no better than: the third view's, else the method's.

    None: what a user takes away needs no bank anyway, or there is no other.
    """
    if not study.generated(study.main):
        return None
    plain = [arm for arm in _beside(study, study.main) if arm != study.main]
    found = [path for arm in reversed(plain) for path in sorted(study.folder.path.glob(f"arms/{arm}/seed-*"))]
    return found[0].relative_to(study.folder.path) if found else None


def _again(study: Study, more: str) -> str:
    """The run's own command with something added."""
    return f"{study.folder.recipe.get('command') or 'clsp run'} {more}"
