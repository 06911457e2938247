"""The sections of the report, one function each; a section without files returns nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clsp.report.charts import Series, line_chart, series_of
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
from clsp.report.results import swatch

TITLES = {"diffusion": "Diffusion model", "positives": "Synthetic positives"}
"""Stages whose folder does not say what they do."""
FEW = 8
"""Lists longer than this are folded away."""
MANY = 500
"""Lists longer than this are cut: the page must open quickly."""

CURVES = {
    "loss": ("Pretraining loss", "What the training minimises; arms with other terms have another scale"),
    "knn": ("Online kNN accuracy, %", "Of the encoder while it trains; it decides nothing"),
    "alignment": ("Alignment", "Mean of 2 - 2 cos between the two views of an image; 0 when they agree"),
    "effective_rank": ("Effective rank", "Dimensions that the embeddings fill; a fall towards 1 is collapse"),
    "feature_std": ("Feature std", "Spread of the normalised embeddings; 0 is collapse"),
}
"""Curves that are always explained; every other number in the metrics is shown as a term of the loss."""
SAMPLES = "Samples of the diffusion model without an anchor: it should draw what the data look like."
DENOISED = (
    "Images noised to {share:g} of the noise levels, the most it was trained for, then denoised without an anchor."
)
NEIGHBOURS = (
    " Right of it: the images nearest to it in the embedding, nearest first. "
    "A good encoder finds the same kind of thing."
)
DIAGNOSES = {"center_norm": "Length of the mean embedding; 1 when all images get the same"}
NO_TERMS = {
    "gradient_norm",
    "step",
    "epoch",
    "lr",
    "learning_rate",
    "seconds",
    "time",
    "images",
    "images_per_second",
    "rate",
}


def data(folder: Folder) -> Html:
    """Counts, shape, notes, and what was left out."""
    images = folder.images
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


def positives(folder: Folder) -> Html:
    """The bank of synthetic positives: its sheet and its measures."""
    manifest = folder.json("positives/manifest.json")
    sheet = folder.picture("positives/sheet.png")
    if not manifest and not sheet:
        return Html()
    alt = "Rows of images: first a real image, then the synthetic positives that were made from it"
    caption = [
        element("b", "Left, apart: the anchors,"),
        " real images. Right: the synthetic positives.",
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


def views(folder: Folder) -> Html:
    """What augmentation makes of the images."""
    sheet = folder.picture("encoder/views.png")
    if not sheet:
        return Html()
    caption = [
        element("b", "Left, apart: the image."),
        " Right of it what the last training step saw: its two views, and the augmented additional positive, which may"
        " stand in the second view's place.",
    ]
    return picture(sheet, "Rows of augmented views; all views of a row come from the same image", caption)


def diffusion(folder: Folder) -> Html:
    """The loss of the diffusion model and its samples."""
    loss = series_of(folder.lines("diffusion/metrics.jsonl"), "loss")
    samples = folder.picture("diffusion/samples.png")
    stage = folder.stages.get("diffusion", {})
    if not loss and not samples and not stage:
        return Html()
    parts: list[Html] = []
    if loss:
        curve = [Series("loss", "arm-0", loss)]
        chart = line_chart(curve, label="Loss of the diffusion model over steps", log=True)
        parts.append(panel("Denoising loss", chart, "Logarithmic; faint: every step, line: running mean."))
    if samples:
        share = float(mapping(stage.get("settings")).get("max_strength", 1.0))
        start, told = ("noised images", DENOISED.format(share=share)) if share < 1.0 else ("noise alone", SAMPLES)
        parts.append(picture(samples, f"A grid of images drawn by the diffusion model from {start}", told))
    return join([_facts(stage), element("div", parts, class_="grid wide")])


def _facts(stage: Mapping[str, Any]) -> Html:
    """What a stage said about itself."""
    facts = {words(name): text(value) for name, value in mapping(stage.get("facts")).items()}
    return definitions(facts) if facts else Html()


def training(folder: Folder) -> Html:
    """The pretraining curves of all arms, with one legend."""
    records = {arm: folder.lines(f"{path}/metrics.jsonl") for arm, path in folder.arms.items()}
    records = {arm: lines for arm, lines in records.items() if lines}
    if not records:
        return Html()
    keys = dict.fromkeys(key for lines in records.values() for record in lines for key in record)
    terms = [key for key in keys if key not in NO_TERMS and key not in CURVES]
    shown = (
        {"loss": CURVES["loss"]}
        | {key: (words(key), DIAGNOSES.get(key, "A term of the loss")) for key in terms}
        | CURVES
    )
    charts = []
    for key, (title, meaning) in shown.items():
        lines = [Series(arm, folder.colours[arm], series_of(found, key)) for arm, found in records.items()]
        chart = line_chart(lines, label=f"{title} over training steps, one curve per arm")
        if chart:
            charts.append(panel(title, chart, f"{meaning}."))
    legend = element("p", [element("span", swatch(folder, arm)) for arm in records], class_="legend")
    return join([_facts(folder.stages.get("encoder", {})), legend, element("div", charts, class_="grid")])


def neighbours(folder: Folder) -> Html:
    """Nearest neighbours in the embedding."""
    sheet = folder.picture("evaluation/neighbours.png")
    if not sheet:
        return Html()
    alt = "Rows of images: the first of each row is the query, the others are its nearest neighbours"
    caption = [element("b", "Left, apart: the query."), NEIGHBOURS]
    return picture(sheet, alt, caption)


def settings(folder: Folder) -> Html:
    """Everything that is needed to repeat the run and to use its encoder."""
    parts: list[Content] = [_times(folder), command(folder, "run")]
    # The page may travel: it names the run's folder, not where that folder lay.
    snippet = folder.text("encoder/snippet.py").strip().replace(str(folder.path.resolve()), folder.path.resolve().name)
    parts += [paragraph("This loads the encoder:"), code(snippet)] if snippet else []
    return join(join(part) for part in [*parts, provenance(folder)])


def command(folder: Folder, kind: str) -> Html:
    """The call that made the folder, which is a ``kind`` of work."""
    told = folder.recipe.get("command")
    return join([paragraph(f"This repeats the {kind}:"), code(str(told))]) if told else Html()


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


def _times(folder: Folder) -> Html:
    """The time of each stage, as number and bar."""
    told = {name: stage.get("seconds") for name, stage in folder.stages.items()}
    seconds = {name: float(value) for name, value in told.items() if is_number(value)}
    if not seconds:
        return Html()
    arms = {path: arm for arm, path in folder.arms.items()}
    longest, total = max(*seconds.values(), 1e-9), sum(seconds.values())
    rows: list[list[Content]] = []
    for name, value in seconds.items():
        status = str(folder.stages[name].get("status") or "")
        arm = arms.get(name)
        label = f"Pretraining {arm}" if arm else TITLES.get(name, words(name))
        colour = folder.colours[arm] if arm else ""
        bar = element("span", class_=f"bar {colour}".strip(), style=f"width:{100 * value / longest:.1f}%")
        note = element("small", status) if status not in {"", "done", "finished", "complete"} else ""
        rows.append([[label, note], duration(value), f"{100 * value / max(total, 1e-9):.0f} %", bar])
    head = ["Stage", "Time", "Share", ""]
    return table(head, rows, caption=f"All stages together: {duration(total)}.", class_="times")
