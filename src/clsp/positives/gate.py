"""The gate: candidates are judged before an encoder is trained on them, by the images and the diffusion model alone.

A generator whose training was too short draws noise, or images that have nothing to do with their anchors. An encoder
that is pulled towards such candidates learns less than without them. The lines were chosen on banks good and bad, see
studies/gate. They let pass what may be of use; whether it helps is for the controls to tell.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import UNet2DModel

from clsp import console, files
from clsp.diffusion.interpolation import Sampling
from clsp.diffusion.pipeline import SyntheticPositivePipeline
from clsp.diffusion.unet import Grid
from clsp.engine.memory import in_batches
from clsp.engine.record import read_record
from clsp.images.imageset import Images, subset
from clsp.positives.appearance import CENTRAL, cut_off, strange, strange_real, untypical
from clsp.positives.bank import PositiveBank
from clsp.positives.config import SynthesizeConfig
from clsp.positives.following import coarse_pixels, following
from clsp.positives.measures import copies
from clsp.positives.verdict import Judged, Verdict

FOLLOWS, STRANGE, UNTYPICAL, CUT_OFF, COPIES = 0.72, 0.5, 0.95, 0.25, 0.5
"""The lines. That of following parts banks of photographs that did harm (0.51 to 0.68) from those that did not (0.97
and above), see studies/draws."""
ANCHORS, EACH, REAL, SAMPLES = 256, 2, 1000, 100
"""Anchors whose candidates are judged, candidates of each, real images beside them, and the model's own samples."""


def judge(
    candidates: np.ndarray,
    anchors: np.ndarray,
    real: np.ndarray,
    *,
    unet: UNet2DModel | None = None,
    samples: np.ndarray | None = None,
) -> Verdict:
    """Judge candidates, of a bank or of a trial draw.

    Args:
        candidates: uint8 [N, k, C, H, W]; from some hundred on the result is no luck.
        anchors: theirs, uint8 [N, C, H, W].
        real: a random sample of real images, uint8 [M, C, H, W].
        unet: the diffusion model, for its size: a model of smaller images cannot draw what they lose, so candidates are
            held against real images that were brought to its size and back. None: those are taken as they are.
        samples: images that the model drew without an anchor, uint8 [S, C, H, W], where there are any.
    """
    drawn = candidates.reshape(-1, *candidates.shape[2:])
    measures = {"follows": _follows(candidates, anchors, real)}
    copied = copies(candidates, np.concatenate((real, anchors)))
    real = real if unet is None else through(unet, real)
    measures["strange"] = _at_most(
        strange(drawn, real),
        STRANGE,
        f"fraction of candidates whose brightness, contrast, roughness or colour is outside of what {CENTRAL:.0%} of "
        f"the real images have; of the real images themselves {strange_real(real):.2f}",
    )
    measures["untypical"] = _at_most(
        untypical(drawn, real),
        UNTYPICAL,
        "how far out the median candidate lies in these statistics: 0 is amid the real images, 1 beyond them all",
    )
    measures["cut_off"] = _at_most(
        max(cut_off(drawn) - cut_off(real), 0.0),
        CUT_OFF,
        "fraction of the candidates' pixel values that are black or white to the limit, beyond that of real images",
    )
    if samples is not None:
        told = "the same as untypical, of images that the diffusion model draws without an anchor"
        measures["samples_untypical"] = _at_most(untypical(samples, real), UNTYPICAL, told, decides=False)
    told = "fraction of candidates that copy a train image pixel by pixel"
    measures["copies"] = _at_most(copied, COPIES, told, decides=False)
    return Verdict.of(measures, _wrong(measures))


def through(unet: UNet2DModel, images: np.ndarray) -> np.ndarray:
    """Bring uint8 images [N, C, H, W] to the U-Net's size and back, as candidates are."""
    grid, size = Grid.of(unet, images.shape[1]), (images.shape[2], images.shape[3])
    x = torch.from_numpy(np.array(images)).float() / 127.5 - 1.0
    seen = grid.leave(grid.enter(x), size).clamp(-1.0, 1.0)
    return ((seen + 1.0) * 127.5).round().to(torch.uint8).numpy()


def judge_bank(
    bank: PositiveBank, images: Images, pipeline: SyntheticPositivePipeline, config: SynthesizeConfig, *, seed: int
) -> Verdict:
    """Judge a sample of a bank, with samples of the model that drew it.

    Args:
        bank: the bank.
        images: the data that it belongs to.
        pipeline: the model with the bank's sampler.
        config: the settings that the bank was drawn with.
        seed: names the samples.
    """
    rows, train = subset(len(bank), ANCHORS, seed=seed + 4), images.train.images
    each = [bank.read(rows, np.array(number)) for number in range(min(bank.candidates, EACH))]
    real = files.take(train, subset(len(train), REAL, seed=seed + 5))
    some = real[:: -(-len(real) // SAMPLES)]  # along the whole set: images may lie in the order of their classes
    samples = _plain_samples(pipeline, some, config, seed=seed)
    anchors = files.take(train, bank.ids[rows])
    return judge(np.stack(each, axis=1), anchors, real, unet=pipeline.unet, samples=samples)


def verdict_of(bank: PositiveBank) -> Verdict | None:
    """Return the verdict that was given when the bank was made; None: there was none.

    Raises:
        UserError: the bank's record is damaged.
    """
    record = read_record(bank.folder)
    if record is None or "verdict" not in record.facts:
        return None
    return files.valid(record.facts["verdict"], Verdict, record.path)


def told(verdict: Verdict) -> str:
    """The verdict in one line of plain words."""
    if verdict.passed:
        said = ["the bank passes: its candidates look like the data and follow their anchors", *verdict.warnings]
        return "; ".join(said)
    return f"the bank fails: {'; '.join((*verdict.reasons, *verdict.warnings))}"


def _follows(candidates: np.ndarray, anchors: np.ndarray, real: np.ndarray) -> Judged:
    drawn, shape = candidates.reshape(-1, *candidates.shape[2:]), candidates.shape[:2]
    ours, theirs, others = (coarse_pixels(some) for some in (drawn, anchors, real))
    found = following(ours.unflatten(0, shape), theirs, others)
    meaning = "how often a candidate is more like its own anchor than like a random real image; 0.5 is chance"
    return Judged(round(found, 4), FOLLOWS, "at least", meaning)


def _at_most(value: float, line: float, meaning: str, *, decides: bool = True) -> Judged:
    return Judged(round(float(value), 4), line, "at most", meaning, decides)


def _wrong(measures: dict[str, Judged]) -> dict[str, str]:
    """What it means when a measure is on the wrong side of its line."""
    value = {name: one.value for name, one in measures.items()}
    return {
        "follows": "candidates do not follow their anchors (more like it than like a random image in "
        f"{value['follows']:.0%} of the cases; chance is 50%, the line {FOLLOWS:.0%})",
        "strange": f"{value['strange']:.0%} of the candidates look like no real image (the line is {STRANGE:.0%})",
        "untypical": f"candidates as a whole look unlike the data, as noise does ({value['untypical']:.2f} on a scale "
        f"from 0 to 1, the line is {UNTYPICAL})",
        "cut_off": f"{value['cut_off']:.0%} more pixel values than in real images are cut off at black or white (the "
        f"line is {CUT_OFF:.0%})",
        "samples_untypical": "the diffusion model's own samples look unlike the data, so its training was too short",
        "copies": f"{value['copies']:.0%} of the candidates are copies of train images",
    }


def _plain_samples(
    pipeline: SyntheticPositivePipeline, images: np.ndarray, config: SynthesizeConfig, *, seed: int
) -> np.ndarray:
    """Images that the model draws without an anchor, by the bank's own steps: uint8 [S, C, H, W].

    With a strength below 1 they start from ``images``, noised: the levels above need not have been trained.
    """
    console.say("synthetic positives: judging the candidates")
    settings = config.sampling()
    plain = Sampling(candidates=1, interpolation_weight=1.0, steps=settings.steps, eta=settings.eta)
    plain.strength = settings.strength

    def draw(first: int, last: int) -> np.ndarray:
        x = torch.from_numpy(np.array(images[first:last])).float() / 127.5 - 1.0
        ids = np.arange(first, last)
        made = pipeline.draw(x, plain, seed=seed, anchor_ids=ids, told=False)
        drawn: np.ndarray = made.images[:, 0].cpu().numpy()
        return drawn

    return np.concatenate(in_batches(draw, len(images), config.batch_size))
