"""The sections of the report, one function each; a section without files returns nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsp.encoders.export import read_spec, snippet
from clsp.report.curves import curve, curve_chart, series_of
from clsp.report.folder import Folder, mapping
from clsp.report.html import (
    Content,
    Html,
    code,
    definitions,
    details,
    element,
    join,
    panel,
    paragraph,
    picture,
    table,
)
from clsp.report.numbers import MISSING, duration, is_number, number, text, words
from clsp.report.study import Study

FEW = 8
"""Lists longer than this are folded away."""
MANY = 500
"""Lists longer than this are cut: the page must open quickly."""

SAMPLES = "Samples of the diffusion model without an anchor: it should draw what the data look like."
DENOISED = (
    "Images noised to {part:g} of the noise levels, the most it was trained for, then denoised without an anchor."
)
NEIGHBOURS = (
    " Right of it: the images nearest to it in the embedding, nearest first. "
    "A good encoder finds the same kind of thing."
)


def data(study: Study) -> Html:
    """Counts, shape, notes, and what was left out."""
    folder, images = study.folder, study.folder.images
    if not images:
        return Html()
    size = images.get("size")
    channels = {1: "1 (gray)", 3: "3 (RGB)"}.get(images.get("channels", 0), text(images.get("channels")))
    facts: dict[str, Content] = {
        "Source": folder.source,
        "Training images": number(images.get("train")),
        "Test images": number(images.get("test")),
        "Size": f"{size} × {size} pixels" if is_number(size) else MISSING,
        "Channels": channels,
        "Labelled": number(images.get("labelled_train")) if images.get("classes") else "none",
    }
    if images.get("fingerprint"):
        facts["Fingerprint"] = element("code", str(images["fingerprint"]))
    notes = [element("li", str(note)) for note in images.get("notes") or ()]
    parts = [definitions(facts), _classes(images), element("ul", notes) if notes else "", _excluded(images)]
    return join(parts)


def _classes(images: Mapping[str, Any]) -> Html:
    names = [str(name) for name in images.get("classes") or ()]
    if not names:
        return paragraph("No labels: nothing here depends on any.")
    listed = ", ".join(names)
    if len(names) > 20:
        return details(f"{len(names)} classes", paragraph(listed, "names"))
    return paragraph([f"{len(names)} {'class' if len(names) == 1 else 'classes'}: {listed}"], "names")


def _excluded(images: Mapping[str, Any]) -> Html:
    """Files that were left out, each with its reason."""
    left_out = [mapping(item) for item in images.get("excluded") or ()]
    if not left_out:
        return paragraph("No file was left out.")
    rows = [[element("code", str(item.get("name"))), str(item.get("reason"))] for item in left_out[:MANY]]
    rest = f"And {len(left_out) - MANY:,} more, in images.json." if len(left_out) > MANY else None
    title = f"{len(left_out):,} {'file was' if len(left_out) == 1 else 'files were'} left out"
    listed = table(["File", "Reason"], rows, caption=rest, class_="words")
    return details(title, listed, open_=len(left_out) <= FEW)


def positives(study: Study) -> Html:
    """The bank of synthetic positives: its sheet and its measures."""
    folder, manifest = study.folder, study.folder.json("positives/manifest.json")
    sheet = folder.picture("positives/sheet.png")
    if not manifest and not sheet:
        return Html()
    alt = "Groups of images: first a real image, then the synthetic positives that were made from it"
    caption = [
        element("b", "Left in each group: the anchor,"),
        " a real image. Right of it: its synthetic positives.",
    ]
    shown = picture(sheet, alt, caption) if sheet else Html()
    facts: dict[str, Content] = {
        "Anchors": number(manifest.get("anchors")),
        "Candidates of each": number(manifest.get("candidates")),
    }
    facts |= {words(name): text(value) for name, value in mapping(manifest.get("sampler")).items()}
    judged = mapping(folder.json("evaluation/metrics.json").get("candidates"))
    measures = {**mapping(manifest.get("measures")), **judged}
    beside = join([_measures(measures), details("The sampler", definitions(facts))])
    return element("div", [shown, element("div", beside if manifest else "")], class_="beside")


def _measures(measures: Mapping[str, Any]) -> Html:
    """Each measure with its value and the sentence that says what it means."""
    terms = []
    for name, measure in measures.items():
        entry = mapping(measure) or {"value": measure}
        value = element("span", text(entry.get("value")), class_="figure")
        meaning = str(entry.get("meaning") or "")
        terms.append(element("div", [element("dt", [words(name), value]), element("dd", meaning)]))
    return element("dl", terms, class_="measures") if terms else Html()


def views(study: Study) -> Html:
    """What augmentation makes of the images, in the main arm's training."""
    first = next(iter(sorted(study.folder.path.glob(f"arms/{study.main}/seed-*/views.png"))), None)
    if not first:
        return Html()
    caption = [
        element("b", "Left, apart: the image."),
        " Right of it what the last training step saw: its two views, and the augmented additional positive where there"
        " is one, which may stand in the second view's place.",
    ]
    return picture(first, "Rows of augmented views; all views of a row come from the same image", caption)


def diffusion(study: Study) -> Html:
    """The loss of the diffusion model and its samples."""
    folder = study.folder
    loss = series_of(folder.lines("diffusion/metrics.jsonl"), "loss")
    samples = folder.picture("diffusion/samples.png")
    stage = folder.stages.get("diffusion", {})
    if not loss and not samples and not stage:
        return Html()
    parts: list[Html] = []
    if loss:
        drawn = [curve("loss", "arm-0", [loss], log=True)]
        chart = curve_chart(drawn, label="Loss of the diffusion model over steps", log=True)
        parts.append(panel("Denoising loss", chart, "Logarithmic; faint: every step, line: running mean."))
    if samples:
        part = float(mapping(stage.get("settings")).get("max_strength", 1.0))
        start, told = ("noised images", DENOISED.format(part=part)) if part < 1.0 else ("noise alone", SAMPLES)
        parts.append(picture(samples, f"A grid of images drawn by the diffusion model from {start}", told))
    return join([_facts(stage), element("div", parts, class_="grid wide")])


def _facts(stage: Mapping[str, Any]) -> Html:
    """What a stage said about itself."""
    facts = {words(name): text(value) for name, value in mapping(stage.get("facts")).items()}
    return definitions(facts) if facts else Html()


def neighbours(study: Study) -> Html:
    """Nearest neighbours in the embedding."""
    sheet = study.folder.picture("evaluation/neighbours.png")
    if not sheet:
        return Html()
    alt = "Rows of images: the first of each row is the query, the others are its nearest neighbours"
    caption = [element("b", "Left, apart: the query."), NEIGHBOURS]
    return picture(sheet, alt, caption)


def settings(study: Study) -> Html:
    """Everything that is needed to repeat the study and to use its encoder."""
    folder, told = study.folder, study.folder.recipe.get("command")
    repeated = join([paragraph("This repeats it:"), code(str(told))]) if told else Html()
    loaded, encoder = Html(), folder.path / "encoder"
    if (encoder / "config.json").exists():
        # The page may travel: it names the study's folder, not where that folder lay.
        weights = Path(folder.path.resolve().name, "encoder", "encoder.safetensors")
        script = snippet(read_spec(encoder), weights).strip()
        loaded = join([paragraph(f"This loads the encoder of {study.main}:"), code(script)])
    return join([_times(study), repeated, loaded, provenance(folder)])


def provenance(folder: Folder) -> Html:
    """Versions, hardware and the whole recipe, folded away."""
    recipe, parts = folder.recipe, []
    versions = {str(name): text(value) for name, value in mapping(recipe.get("versions")).items()}
    hardware = {words(str(name)): text(value) for name, value in mapping(recipe.get("machine")).items()}
    if versions or hardware:
        parts.append(details("Versions and hardware", definitions({**versions, **hardware})))
    if recipe:
        parts.append(details("The resolved recipe", code(folder.text("recipe.yaml").strip())))
    return join(parts)


def _times(study: Study) -> Html:
    """The time of each kind of work, as number and bar."""
    spent: dict[str, float] = {}
    ends: dict[str, set[str]] = {}
    for name, stage in study.folder.stages.items():
        if is_number(stage.get("seconds")):
            kind = _work(name)
            spent[kind] = spent.get(kind, 0.0) + float(stage["seconds"])
            ends.setdefault(kind, set()).add(str(stage.get("status") or ""))
    longest, total = max(*spent.values(), 1e-9, 1e-9), sum(spent.values())
    rows: list[list[Content]] = []
    for kind, value in spent.items():
        arm = kind.removeprefix("Pretraining ")
        colour = study.colours.get(arm, "")
        bar = element("span", class_=f"bar {colour}".strip(), style=f"width:{100 * value / longest:.1f}%")
        note = element("small", ", ".join(sorted(ends[kind] - {"", "done", "finished", "complete"})))
        rows.append([[kind, note], duration(value), f"{100 * value / max(total, 1e-9):.0f} %", bar])
    told = f"All stages together: {duration(total)}."
    return table(["Stage", "Time", "Fraction", "Compared"], rows, caption=told, class_="times") if rows else Html()


def _work(stage: str) -> str:
    """What a stage does, by its folder."""
    parts = stage.split("/")
    if parts[-1] == "evaluation":
        return "Evaluation"
    known = {"diffusion": "Diffusion model", "positives": "Synthetic positives"}
    return f"Pretraining {parts[1]}" if len(parts) == 3 else known.get(stage, words(stage))
