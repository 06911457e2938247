"""The stage that trains an image and a text encoder, and measures them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsp import files
from clsp.engine.pixels import Pixels
from clsp.engine.stage import Stage
from clsp.errors import UserError
from clsp.evaluation.balance import rate
from clsp.evaluation.findings.pictures import draw
from clsp.evaluation.measure import Measure, records
from clsp.images.imageset import Images
from clsp.tasks.job import Job, Keep, train
from clsp.tasks.start import Beginning
from clsp.tasks.text import pretrained, words
from clsp.tasks.text.captions import Captions, captions_of, sentences
from clsp.tasks.text.config import TextConfig, TextRecipe, TowerConfig
from clsp.tasks.text.measure import recalls
from clsp.tasks.text.model import TOWER, Saved, save_pairing
from clsp.tasks.text.pretrained import PretrainedTower
from clsp.tasks.text.tower import Pairing, Tower
from clsp.tasks.text.training import Captioning
from clsp.tasks.views import Drawing

MAKES = (TOWER, words.FILE, pretrained.CONFIG, "metrics.json", "results.png")
"""What the stage makes besides what every training does."""

_CAPTIONS, _RESULTS, _THUMBNAIL = 12, 8, 64
"""Captions on the picture, images that each finds, and their side in pixels."""


def make_text(job: Job[TextRecipe]) -> Stage:
    """Train an image and a text encoder into the job's folder, and measure them.

    Args:
        job: images with captions, or with classes. Candidates are paired with their anchors' captions.

    Raises:
        UserError: there are no captions, a setting is wrong, or as `clsp.tasks.job.train` says.
    """
    config = job.recipe.text
    captions = captions_of(job.images, config, seed=job.recipe.seed)
    if config.tower.width % config.tower.heads:
        raise UserError(f"--text.tower.heads {config.tower.heads} must divide --text.tower.width {config.tower.width}")
    sentences(job.images.classes or (), config.templates)
    made = {"captions": files.fingerprint([captions.train, captions.test])}
    found = None if config.tower.pretrained is None else pretrained.find(config.tower.pretrained)
    made |= {} if found is None else {"tower": found.digest}
    about: dict[str, Any] = {"title": "text encoder", "section": "text", "makes": MAKES, "made": made}
    return train(job, config, build=partial(build, job, captions, found), count=len(captions.ids), **about)


def build(
    job: Job[TextRecipe], captions: Captions, found: pretrained.Found | None, beginning: Beginning
) -> tuple[Captioning, Keep]:
    """Make the training with its first weights, and what keeps its result."""
    images, config, ids = job.images, job.recipe.text, captions.ids
    spec = beginning.described(images, ids)
    named = [text for some in sentences(images.classes or (), config.templates) for text in some]
    tokenizer, tower = _tower([*captions.train, *named], config.tower, found)
    pairing = Pairing(beginning.build(config.backbone), tower, config.dim)
    pixels, drawing = Pixels(images.train.images, ids), Drawing(spec, config.augment, seed=job.recipe.seed)
    written, candidates = words.tokens(tokenizer, captions.train, config.tower.length), job.candidates(pixels, ids)
    training = Captioning(pairing, config, drawing, pixels, written, ids, candidates=candidates)
    return training, partial(_keep, job, Saved(pairing, tokenizer, spec, config.tower.length), captions)


def _tower(
    texts: Sequence[str], config: TowerConfig, found: pretrained.Found | None
) -> tuple[Any, Tower | PretrainedTower]:
    """The text encoder with its tokenizer: a new one for the texts, or a pretrained one."""
    if found is None:
        tokenizer = words.learnt(texts, config)
        return tokenizer, Tower(tokenizer.get_vocab_size(), config)
    return found.tokenizer(config.length), PretrainedTower(found.model(), frozen=config.frozen)


def _keep(job: Job[TextRecipe], saved: Saved, captions: Captions) -> dict[str, Any]:
    """Write both encoders, and what they are worth; return the stage's facts."""
    config = job.recipe.text
    saved.pairing.eval()
    about = {"stage": "text encoder", "seed": job.recipe.seed}
    save_pairing(job.folder, saved, config.tower, config.templates, about)
    return _measured(job.folder, saved, job.images, captions, config)


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
    asked = list(dict.fromkeys(captions.test))[:_CAPTIONS]
    if captions.made and images.classes:
        asked = [some[0] for some in sentences(images.classes, config.templates)][:_CAPTIONS]
    if not asked:
        return {}
    similar = saved.embed_texts(asked) @ embedded.T
    rows = similar.topk(min(_RESULTS, len(embedded)), dim=1).indices.numpy()
    sheet = draw(path, images.test.images, list(rows), side=_THUMBNAIL)
    names = [[str(images.test.names[int(place)]) for place in row] for row in rows]
    return {"sheet": sheet, "captions": asked, "names": names}
