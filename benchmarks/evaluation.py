"""Evaluation: features once and L-BFGS, against a probe that extracts the features again in each of 100 epochs.

Both sides rate the same frozen encoder on Fashion-MNIST, that of the recipe, trained as a classifier for a hundred
steps. The other side is the reference's: 100 epochs of SGD on a linear layer, every image through the encoder in every
epoch, test images too. It runs whole once, for its accuracy; then each round times five of its epochs, of which one
takes as long as another, and counts them twenty times. Ours also chooses C, k and the temperature on a held-out part of
train, and that time counts. A second target sets the memory of the exact kNN in chunks against that of the whole
similarity matrix.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import quality
import torch
import torch.nn.functional as F
from harness import Result, arguments, finish, floor_of, interleave, seconds_text, single
from torch import Tensor, nn

from clsp import files
from clsp.encoders.features import encode_images
from clsp.engine.neighbours import nearest
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluate import evaluate
from clsp.evaluation.task import Task, make_task
from clsp.evaluation.trained import Trained
from clsp.images.config import ImagesConfig
from clsp.images.imageset import Images, Split
from clsp.images.sources import open_images

SPEC = replace(quality.SPEC, stem="small")
"""The encoder of the recipe fashion-mnist."""

EPOCHS, TIMED, BATCH = 100, 5, 500
TRAINED, STEPS = 5000, 100


def reference_probe(encoder: nn.Module, task: Task, *, epochs: int = EPOCHS) -> float:
    """Train a linear layer by SGD, the features extracted anew in every epoch; return the last test accuracy."""
    torch.manual_seed(0)
    layer = nn.Linear(SPEC.args["channels"][-1], task.classes)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    labels, test_labels = torch.from_numpy(task.train.labels), torch.from_numpy(task.test.labels)
    accuracy = 0.0
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(BATCH):
            features = features_of(encoder, task.train.images[rows.numpy()])
            loss = F.cross_entropy(layer(features), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            found = layer(features_of(encoder, task.test.images)).argmax(dim=1)
        accuracy = 100 * float((found == test_labels).float().mean())
    return accuracy


def features_of(encoder: nn.Module, images: files.Array) -> Tensor:
    return encode_images(encoder, images, torch.tensor(SPEC.mean), torch.tensor(SPEC.std), batch_size=BATCH)


class InMemory(Trained):
    """An encoder that lies in no folder."""

    kind = "encoder"

    def __init__(self, encoder: nn.Module, data: Task) -> None:
        super().__init__(Path(), data)
        self._encoder = encoder

    def features(self, images: files.Array) -> Tensor:
        return features_of(self._encoder, images)


def first_tests(images: Images, count: int) -> Images:
    """Keep the first ``count`` test images, so that the slow side ends."""
    assert images.test is not None and images.test.labels is not None
    kept = images.test.images[:count], images.test.names[:count], images.test.labels[:count]
    test = Split(images=kept[0], names=kept[1], labels=kept[2])
    return replace(images, test=test)


def bounded(rounds: int) -> Result:
    """Exact neighbours of 20,000 among 60,000: bytes of the whole similarity matrix over the memory we needed."""
    queries, references = torch.randn(20_000, 128), torch.randn(60_000, 128)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        nearest(queries, references, 20)
        seconds.append(time.perf_counter() - begin)
    grown = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, 1) * 1024
    whole = 4 * len(queries) * len(references)
    return single(
        "memory of exact kNN, against the whole matrix",
        5.0,
        whole / grown,
        ours=f"{grown / 1e6:.0f} MB, {seconds_text(statistics.median(seconds))}",
        theirs=f"{whole / 1e6:.0f} MB",
        floor=floor_of(2 * 128 * len(queries) * len(references), statistics.median(seconds), torch.float32),
    )


def main() -> None:
    options = arguments(__doc__ or "", train=3000, test=1000)
    memory = bounded(options.rounds)  # first: later the peak is that of the encoder
    with tempfile.TemporaryDirectory() as folder:
        images = open_images("fashion-mnist", ImagesConfig(), seed=0, store=Path(folder))
        config = EvaluateConfig(train_images=options.train)
        task = make_task(first_tests(images, options.test), config, seed=0)
        encoder = quality.judge(images.train, TRAINED, STEPS, spec=SPEC)[0]
        accuracy: dict[str, float] = {}

        def ours() -> None:
            accuracy["ours"] = evaluate(InMemory(encoder, task), task, config)["linear"].value

        def theirs() -> float:
            epochs = TIMED if "reference" in accuracy else EPOCHS
            begin = time.perf_counter()
            found = reference_probe(encoder, task, epochs=epochs)
            seconds = time.perf_counter() - begin
            accuracy.setdefault("reference", round(found, 2))
            return seconds * EPOCHS / epochs

        rounds = interleave(theirs, ours, options.rounds)
    probe = rounds.result("linear probe and kNN against 100 epochs of SGD", 50.0, quality={"linear": accuracy})
    finish([probe, memory], options.json)


if __name__ == "__main__":
    main()
