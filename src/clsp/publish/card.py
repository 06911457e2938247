"""The model card of an encoder: what it is, how it is loaded, and what was measured of just these weights."""

from __future__ import annotations

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from clsp import files
from clsp.console import duration
from clsp.images.told import counted
from clsp.publish.formats import Encoder
from clsp.publish.markdown import code, document, listed, plain, section
from clsp.publish.origin import FIX, Measured, Origin, shared_name, shared_note
from clsp.tabular import markdown

UNKNOWN = "unknown"
"""The hub's word where nobody has chosen a licence."""

_FILES = {
    "model.safetensors": "the weights by timm's names",
    "encoder.safetensors": "the weights; `snippet.py` builds the model around them",
    "config.json": "the architecture, its arguments, and how images are prepared",
    "snippet.py": "a script of timm and torch that loads the weights",
    "encoder.pt2": "a program of `torch.export`, any batch, the normalisation inside",
    "encoder.onnx": "ONNX, any batch, the normalisation inside",
    "encoder-int8.onnx": "the same in 8 bit",
}


def model_card(encoder: Encoder, names: list[str], *, license_: str = UNKNOWN, title: str = "") -> str:
    """Write the card of an export.

    Args:
        encoder: what was exported, after its formats were written.
        names: the files.
        license_: an identifier of the hub, such as ``apache-2.0``.
        title: the repository's name, or the folder's.

    Raises:
        UserError: a file of the run says what no run writes.
    """
    with files.foreign(encoder.origin.run or encoder.folder, FIX, what="holds what no run writes"):
        return _model_card(encoder, names, license_, title)


def _model_card(encoder: Encoder, names: list[str], license_: str, title: str) -> str:
    origin, spec = encoder.origin, encoder.spec
    channels = {1: "gray", 3: "RGB"}.get(spec.channels, f"{spec.channels}-channel")
    about = (
        f"An image encoder, `{spec.name}` of timm, for {channels} images of {spec.size} x {spec.size} pixels. It turns "
        f"an image into {encoder.features} features. clsp trained it{_trained(encoder)}."
    )
    return document(
        _front(encoder, names, license_, title),
        f"# {plain(title or spec.name)}",
        about,
        section("Files", markdown(["file", "what it is"], [[f"`{n}`", _FILES[n]] for n in names if n in _FILES])),
        section("Use", *_uses(encoder, names, title)),
        section("Images", data_told(origin), _prepared(encoder)),
        section("Measured", *measured(origin.measures)),
        section("In 8 bit", *_quantised(encoder)),
        section("Training", *_training(origin)),
        section("Licence", licence(license_)),
    )


def _trained(encoder: Encoder) -> str:
    """By which method, on which data: as the encoder's own config says."""
    method, data = encoder.provenance.get("method"), encoder.provenance.get("data")
    found = f" by the method `{plain(method)}`" if method else ""
    return found + (f" on {plain(shared_name(str(data)))}" if data else "")


def _front(encoder: Encoder, names: list[str], license_: str, title: str) -> str:
    """The YAML that the hub reads."""
    timm = "model.safetensors" in names
    data = shared_name(str(encoder.provenance.get("data") or encoder.origin.data or ""))
    results = [
        EvalResult(
            task_type="image-feature-extraction",
            dataset_type="other",
            dataset_name=data,
            metric_type="accuracy" if one.quantity == "accuracy" else one.quantity,
            metric_name=f"{one.title} {one.quantity}",
            metric_value=one.value,
        )
        for one in encoder.origin.measures
        if data
    ]
    tags = ["clsp", "self-supervised-learning", "image-feature-extraction", *(["timm"] if timm else [])]
    named: dict[str, Any] = {"model_name": title or encoder.spec.name, "eval_results": results} if results else {}
    about = ModelCardData(
        license=license_,
        library_name="timm" if timm else None,
        pipeline_tag="image-feature-extraction",
        tags=tags,
        **named,
    )
    return str(about.to_yaml())


def _uses(encoder: Encoder, names: list[str], title: str) -> list[str]:
    """How each format is loaded; every block is a script of its own."""
    spec, found = encoder.spec, list[str]()
    shape = f"2, {spec.channels}, {spec.size}, {spec.size}"
    images = f"images = torch.rand({shape})  # your images, in [0, 1]\n"
    if encoder.plain is not None:
        place = f"hf-hub:{title}" if "/" in title else "local-dir:FOLDER"
        times = encoder.plain.repeat
        larger = f"images = images.repeat_interleave({times}, 2).repeat_interleave({times}, 3)\n" if times > 1 else ""
        found.append(
            code(
                f"import timm\nimport torch\n\nmodel = timm.create_model({place!r}, pretrained=True).eval()\n"
                f"mean, std = torch.tensor({spec.mean!r}), torch.tensor({spec.std!r})\n{images}{larger}"
                "features = model((images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))",
                "python",
            )
        )
        found.append("`num_classes=N` adds a new classifier, `timm.data` makes the transforms from `config.json`.")
    if "encoder.pt2" in names:
        load = "program = torch.export.load('encoder.pt2').module()\n"
        found.append(code(f"import torch\n\n{load}{images}features = program(images)", "python"))
    for name in (name for name in names if name.endswith(".onnx")):
        found.append(
            code(
                f"import numpy\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession({name!r})\n"
                f"images = numpy.random.rand({shape}).astype('float32')  # your images, in [0, 1]\n"
                "(features,) = session.run(None, {'images': images})",
                "python",
            )
        )
    return found


def _prepared(encoder: Encoder) -> str:
    """How an image has to be prepared."""
    spec = encoder.spec
    text = (
        f"An image is cropped to its square centre and brought to {spec.size} x {spec.size} pixels (bicubic). Of its "
        f"values in [0, 1] the mean {spec.mean} is subtracted; the result is divided by {spec.std}. The statistics are "
        "those of the train images."
    )
    if encoder.plain is None or encoder.plain.repeat == 1:
        return text
    times, spare = encoder.plain.repeat, "replace_stem_pool" in encoder.plain.args
    train = " To train it on, keep `maxpool` in eval mode: its BatchNorm passes values on as they are." if spare else ""
    return (
        f"{text}\n\nFor `model.safetensors` every pixel is then repeated {times} times in rows and columns: the "
        "encoder was trained with a first layer for small images, and on an enlarged image timm's own first layer with "
        "these weights computes the same. timm's transforms enlarge in this way (`interpolation: nearest`), so images "
        f"of another size have to be brought to {spec.size} x {spec.size} pixels first.{train}"
    )


def data_told(origin: Origin) -> str:
    """What the run wrote down of its data; nothing where it did not."""
    images = origin.images
    if not images:
        return ""
    classes, test = images.get("classes"), images.get("test")
    parts = [f"{images['train']} train images"]
    parts += [f"{test} test images"] if test else []
    parts += [f"{len(classes)} classes"] if classes else ["no labels"]
    text = f"{plain(shared_name(str(images['source'])))}: {', '.join(parts)}."
    notes = "".join(f"\n- {plain(note)}" for note in _notes(origin))
    more = f"\n{notes}" if notes else ""
    return f"{text} Their fingerprint is `{plain(images['fingerprint'])}`.{more}"


def _notes(origin: Origin) -> list[str]:
    """What was decided of the data, and what was left out, without the user's folders."""
    told = [str(note) for note in origin.images.get("notes") or ()]
    notes = [shared_note(note, origin.paths) for note in told]
    if lost := notes.count(""):
        notes.append(f"{counted(lost, 'note')} that would name folders left out here")
    excluded = counted(len(origin.images.get("excluded") or ()), "file")
    said = f"{excluded} could not be read and "
    if origin.images.get("excluded") and not any(note.startswith(said) for note in told):
        notes.append(f"{said}{'was' if excluded == '1 file' else 'were'} left out")
    return [note for note in notes if note]


def measured(measures: list[Measured]) -> list[str]:
    """The table of measures, each with its protocol; or that there are none."""
    if not measures:
        return ["Nothing was measured of these weights."]
    rows = []
    for one in measures:
        ends = "" if one.low is None or one.high is None else f"{one.low:.2f} to {one.high:.2f}"
        value = plain(f"{one.value:.2f} {one.unit}")
        rows.append([plain(f"{one.title} {one.quantity}"), value, ends, plain(one.protocol)])
    limits = next((one.limits for one in measures if one.low is not None), "")
    head = ["measure", "value", plain(limits) or "interval", "how it was measured"]
    return ["Of the frozen encoder, by the run that trained it:", markdown(head, rows)]


def _quantised(encoder: Encoder) -> list[str]:
    if encoder.loss is None:
        return []
    first, *rest = encoder.loss.lines()
    return [plain(first), "\n".join(f"- {plain(line)}" for line in rest)]


def _training(origin: Origin) -> list[str]:
    """The recipe of just this training; nothing where no record of it is there."""
    record = origin.record
    if record is None:
        return []
    steps = record.facts.get("steps")
    told = f"{steps} steps in {duration(record.seconds)}" if steps else duration(record.seconds)
    versions = origin.recipe.get("versions") or {}
    made = ", ".join(f"{plain(name)} {plain(version)}" for name, version in versions.items())
    start = (origin.recipe.get("pretrain") or {}).get("weights")
    began = f" It began from the weights {plain(shared_name(str(start)))}." if start else ""
    bank = " Its additional positives are candidates of a bank of synthetic images." if "bank" in record.inputs else ""
    return [f"{told}.{began}{bank}", listed(origin.settings), f"Made with {made}." if made else ""]


def licence(name: str) -> str:
    """The sentence about the licence."""
    if name == UNKNOWN:
        return (
            "Nobody has chosen a licence for these files; ask who uploaded them. The images have licences of their own."
        )
    return f"`{plain(name)}`, chosen by who uploaded this. The images have licences of their own."
