"""The stage that trains an image and a text encoder, and measures them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsp import distributed, files
from clsp.encoders.export import EncoderSpec
from clsp.engine.fit import Fit
from clsp.engine.hardware import HardwareConfig
from clsp.engine.launch import launch
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage, stage
from clsp.errors import UserError
from clsp.evaluation.balance import rate
from clsp.evaluation.findings.pictures import draw
from clsp.evaluation.measure import Measure, records
from clsp.images.imageset import Images
from clsp.positives.bank import PositiveBank
from clsp.positives.source import Draw, Material
from clsp.positives.sources import SOURCES
from clsp.tasks.start import Beginning, find_beginning, with_statistics
from clsp.tasks.text import words
from clsp.tasks.text.captions import Captions, captions_of, sentences
from clsp.tasks.text.config import TextConfig
from clsp.tasks.text.measure import recalls
from clsp.tasks.text.model import TOWER, Saved, save_pairing
from clsp.tasks.text.tower import Pairing, Tower
from clsp.tasks.text.training import Captioning

MAKES = (
    "encoder.safetensors", "config.json", "snippet.py", TOWER, words.FILE, "metrics.json", "metrics.jsonl",
    "results.png", "checkpoints/last.safetensors",
)  # fmt: skip
"""What the stage makes."""
_RESULTS, _THUMBNAIL = 8, 64


def train_text(
    images: Images,
    config: TextConfig,
    hardware: HardwareConfig,
    *,
    seed: int,
    folder: Path,
    encoder: str | None = None,
    bank: PositiveBank | None = None,
) -> Stage:
    """Train an image and a text encoder into ``folder``.

    Args:
        images: images with captions, or with classes.
        config: the training.
        hardware: devices.
        seed: names the initial weights and all draws.
        folder: gets both encoders, the tokenizer and ``metrics.json``.
        encoder: what the image encoder begins as, see `clsp.tasks.start.find_beginning`.
        bank: candidates, each paired with its anchor's caption; None: there are none.

    Raises:
        UserError: there are no captions, a setting is wrong, a loss became non-finite, or the folder belongs to other
            settings.
    """
    launch(hardware)
    beginning, captions = find_beginning(encoder, images, config.backbone), captions_of(images, config, seed=seed)
    if config.batch_size > len(captions.ids):
        count = len(captions.ids)
        raise UserError(f"--text.batch_size {config.batch_size} is larger than the {count} captioned images")
    if config.tower.width % config.tower.heads:
        raise UserError(f"--text.tower.heads {config.tower.heads} must divide --text.tower.width {config.tower.width}")
    sentences(images.classes or (), config.templates)
    made = {**beginning.made, "captions": files.fingerprint([captions.train, captions.test])}
    if bank is not None:
        bank.require_data(images.fingerprint, images.source)
        made |= {"bank": bank.fingerprint}
    about: dict[str, Any] = {"data": images.fingerprint, "made": made, "makes": MAKES}
    with stage("text encoder", folder, config, seed=seed, **about) as current:
        if current.finished:
            return current
        torch.manual_seed(seed)
        training, spec, tokenizer = build(images, captions, config, beginning, bank, seed=seed)
        Fit(
            folder=folder,
            title="text encoder",
            precision=config.precision,
            hardware=hardware,
            checkpoint_minutes=config.checkpoint_minutes,
            on_checkpoint=current.keep_time,
            log_every=config.log_every,
            batch_setting="text.batch_size",
        ).run(training)
        if distributed.rank() == 0:
            saved = Saved(training.pairing.eval(), tokenizer, spec, config.tower.length)
            about = {"stage": "text encoder", "seed": seed}
            save_pairing(folder, saved, config.tower, config.templates, about)
            current.facts = _measured(folder, saved, images, captions, config)
    return current


def build(
    images: Images,
    captions: Captions,
    config: TextConfig,
    beginning: Beginning,
    bank: PositiveBank | None,
    *,
    seed: int,
) -> tuple[Captioning, EncoderSpec, Any]:
    """Make the training with its first weights, the spec of its image encoder, and the tokenizer of its captions."""
    spec = with_statistics(beginning, images, files.Rows(images.train.images, captions.ids))
    named = [text for some in sentences(images.classes or (), config.templates) for text in some]
    tokenizer = words.learnt([*captions.train, *named], config.tower)
    tower = Tower(tokenizer.get_vocab_size(), config.tower)
    pairing = Pairing(beginning.build(config.backbone), tower, config.tower.width, config.dim)
    held, candidates = Pixels(images.train.images, captions.ids), None
    if bank is not None:
        material = Material(held, captions.ids, None, images.train.images, images.train.names, bank)
        candidates = partial(_candidates, material, seed)
    statistics = torch.tensor(spec.mean), torch.tensor(spec.std)
    written = words.tokens(tokenizer, captions.train, config.tower.length)
    made = Captioning(pairing, config, held, written, captions.ids, *statistics, seed=seed, candidates=candidates)
    return made, spec, tokenizer


def _candidates(material: Material, seed: int, device: torch.device) -> Draw:
    return SOURCES["bank"]().build(material, seed=seed, device=device)


def _measured(folder: Path, saved: Saved, images: Images, captions: Captions, config: TextConfig) -> dict[str, Any]:
    """Write what was measured on the test part; return the stage's facts."""
    measures: list[Measure] = []
    found: dict[str, Any] = {
        "captions": captions.note, "pairs": len(captions.ids), "classes": list(images.classes or ()),
    }  # fmt: skip
    if images.test is not None:
        embedded = saved.embed_images(images.test.images)
        if len(captions.tested) > 1 and not captions.made:
            texts = saved.embed_texts(captions.test)
            rows = torch.from_numpy(captions.tested)
            protocol = f"{len(captions.tested)} test images and their captions find each other; equal captions are one"
            measures += recalls(embedded[rows], texts, captions.test, protocol=protocol)
        labels = images.test.labels
        if labels is not None and images.classes:
            known = np.flatnonzero(labels >= 0)
            classes = saved.embed_classes(images.classes, config.templates)
            scores = (embedded[torch.from_numpy(known)] @ classes.T).numpy()
            protocol = f"{len(known)} test images, each given the class whose sentences it is most like"
            measures += rate(scores, labels[known], name="zero_shot", title="zero-shot", protocol=protocol)
        found["results"] = _pictures(folder / "results.png", saved, embedded, images, captions, config)
    files.write_json(folder / "metrics.json", {**records(measures), **found})
    return {"pairs": len(captions.ids), **{one.name: one.value for one in measures}}


def _pictures(
    path: Path, saved: Saved, embedded: torch.Tensor, images: Images, captions: Captions, config: TextConfig
) -> dict[str, Any]:
    """Draw the test images that some captions find: those of the test part, or of the classes."""
    assert images.test is not None
    asked = list(dict.fromkeys(captions.test))[: config.shown]
    if captions.made and images.classes:
        asked = [some[0] for some in sentences(images.classes, config.templates)][: config.shown]
    if not asked:
        return {}
    similar = saved.embed_texts(asked) @ embedded.T
    rows = similar.topk(min(_RESULTS, len(embedded)), dim=1).indices.numpy()
    sheet = draw(path, images.test.images, list(rows), side=_THUMBNAIL)
    names = [[str(images.test.names[int(place)]) for place in row] for row in rows]
    return {"sheet": sheet, "captions": asked, "names": names}
