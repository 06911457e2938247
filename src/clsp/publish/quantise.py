"""ONNX in 8 bit, by onnxruntime: two ways are tried, the better one is kept, and what it loses is measured."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from clsp import console, files
from clsp.encoders.export import EncoderSpec, export_onnx
from clsp.engine.neighbours import nearest
from clsp.errors import UserError
from clsp.evaluation.evaluators import EVALUATORS
from clsp.evaluation.task import Task, make_task
from clsp.evaluation.trained import Trained
from clsp.images.imageset import Split, subset
from clsp.publish.origin import Origin, require_origin, shared_name
from clsp.study.opened import prepare_as

FILE = "encoder-int8.onnx"
CALIBRATED, CHOSEN, REFERENCES, QUERIES = 256, 256, 5000, 2000
"""Train images that the ranges are taken from, others that the better way is chosen on, and at most so many train and
test images that its loss is measured on."""
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What 8 bit lose against the same encoder in 32 bit."""

    way: str
    """static or dynamic."""
    chosen: dict[str, float]
    """Mean cosine of each way that was tried, on the images it was chosen on."""
    cosine: float
    """Mean cosine of an image's features in 8 bit to those in 32 bit."""
    lowest: float
    """The lowest of them."""
    neighbours: float
    """Fraction of the test images whose nearest train image is the same one."""
    knn: tuple[float, float] | None
    """The kNN's accuracy in percent, in 32 and in 8 bit; None without labels."""
    protocol: str
    """How that was measured."""
    tested: str
    """On which images."""
    size: tuple[int, int]
    """Bytes of both files."""
    seconds: tuple[float, float]
    """For an image, here."""
    file: str = FILE

    def lines(self) -> list[str]:
        """What it is, for the screen and for the card."""
        others = ", ".join(f"{name} {value:.4f}" for name, value in self.chosen.items())
        found = [
            f"8 bit ({self.way}; mean cosine where it was chosen: {others}), against 32 bit on {self.tested}:",
            f"  cosine of the features: mean {self.cosine:.4f}, lowest {self.lowest:.4f}",
            f"  the nearest train image is the same one for {self.neighbours:.1%}",
        ]
        if self.knn:
            found.append(f"  kNN {self.knn[1]:.2f} % in 8 bit, {self.knn[0]:.2f} % in 32 bit; {self.protocol}")
        small, fast = self.size[1] / self.size[0], self.seconds[1] / self.seconds[0]
        found.append(
            f"  the file has {small:.0%} of the bytes; an image takes {1000 * self.seconds[1]:.2f} ms on one core "
            f"here, {fast:.2f} times as long as in 32 bit"
        )
        return found


def quantise(
    encoder: nn.Module, spec: EncoderSpec, origin: Origin, data: str | None, out: Path, exact: Path | None = None
) -> Loss:
    """Write ``encoder-int8.onnx`` and measure what it loses on the run's own images.

    Ranges and the way are chosen on train images; the loss is measured on test images, or without any on train images
    that served neither.

    Args:
        encoder: in eval mode.
        spec: the encoder's.
        origin: its run's.
        data: a SOURCE; None: the run's own.
        out: the folder.
        exact: the encoder as ONNX in 32 bit, where it is there already.

    Raises:
        UserError: onnxruntime is not installed, or the images are not there.
    """
    _require_packages()
    task, tested, config = _task(spec, origin, data)
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        ready, ways = Path(scratch) / "ready.onnx", {"static": Path(scratch) / "s", "dynamic": Path(scratch) / "d"}
        if exact is None:
            exact = Path(scratch) / "exact.onnx"
            export_onnx(encoder, spec, exact)
        calibrated, rest = _parts(task.train)
        _prepare(exact, ready)
        _static(ready, ways["static"], calibrated)
        _dynamic(ready, ways["dynamic"])
        reference = _Session(exact, task)
        wanted = reference.features(rest)
        chosen = {name: _cosines(wanted, _Session(path, task).features(rest)) for name, path in ways.items()}
        means = {name: float(found.mean()) for name, found in chosen.items()}
        way = max(means, key=lambda name: means[name])
        files.write_bytes(out / FILE, ways[way].read_bytes())
        return _loss(way, means, reference, _Session(ways[way], task), task, tested, config)


def _task(spec: EncoderSpec, origin: Origin, data: str | None) -> tuple[Task, str, Any]:
    """Train and test images of the run, few enough; which these are, in words; and how the run evaluates."""
    from clsp.recipes.prepare import prepare

    source = data or require_origin(origin, "--format onnx-int8")
    wanted = {"images": {"channels": spec.channels, "size": spec.size}}
    if origin.run is None:
        prepared = prepare(source, overrides=wanted)
    else:
        prepared = prepare_as(origin.run / "recipe.yaml", data, settings=wanted)
    config, seed = prepared.recipe.evaluate, prepared.recipe.seed
    config = replace(config, train_images=min(config.train_images or REFERENCES, REFERENCES))
    task = make_task(prepared.images, config, seed=seed)
    train, test = task.train, task.test
    if test is train:  # without labels, and without a test part
        test, train = train.rows(np.arange(0, len(train), 4)), train.rows(np.flatnonzero(np.arange(len(train)) % 4))
        task = replace(task, held=task.held[np.arange(len(task.held)) % 4 > 0])
    test = test.rows(subset(len(test), QUERIES, seed=seed))
    kind = "test images" if task.test is prepared.images.test else "images set apart"
    tested = f"{len(test)} {kind} and {len(train)} train images of {shared_name(source)}"
    return replace(task, train=train, test=test, note=f"{len(test)} {kind}"), tested, config


def _parts(train: Split) -> tuple[np.ndarray, np.ndarray]:
    """Images to take the ranges from, and others to choose on, uint8 [N, C, H, W]; of few images half each."""
    count = min(CALIBRATED, max(len(train) // 2, 1))
    rows = subset(len(train), min(count + CHOSEN, len(train)), seed=0)
    spread = np.random.default_rng(0).permutation(rows)
    first, second = np.sort(spread[:count]), np.sort(spread[count:] if len(spread) > count else spread)
    return files.take(train.images, first), files.take(train.images, second)


def _prepare(exact: Path, ready: Path) -> None:
    """Join layers and note the shapes, which the quantiser asks for."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(exact), str(ready))


def _static(ready: Path, target: Path, images: np.ndarray) -> None:
    """Weights by channel and activations in 8 bit; their ranges are those that the images show."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = (images[first : first + _BATCH] for first in range(0, len(images), _BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"images": batch.astype(np.float32) / 255.0}

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(ready), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)


def _dynamic(ready: Path, target: Path) -> None:
    """Weights in 8 bit; the range of each activation is taken when it is there."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(ready), str(target), weight_type=QuantType.QUInt8)


class _Session(Trained):
    """An ONNX file, as evaluators see it."""

    kind = "onnx"

    def __init__(self, path: Path, task: Task) -> None:
        import onnxruntime

        super().__init__(path.parent, task)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.size, self._seconds, self._images = path.stat().st_size, 0.0, 0

    @property
    def seconds(self) -> float:
        """Seconds for an image, over all that were encoded."""
        return self._seconds / max(self._images, 1)

    def features(self, images: files.Array) -> Tensor:
        """Features of uint8 images [N, C, H, W]: float32 [N, D]."""
        found = []
        for first in range(0, len(images), _BATCH):
            batch = files.take(images, np.arange(first, min(first + _BATCH, len(images)))).astype(np.float32) / 255.0
            began = time.perf_counter()
            found.append(self._session.run(None, {"images": batch})[0])
            self._seconds += time.perf_counter() - began
        self._images += len(images)
        return torch.from_numpy(np.concatenate(found))


def _loss(
    way: str, means: dict[str, float], exact: _Session, small: _Session, task: Task, tested: str, config: Any
) -> Loss:
    """Compare both on the task's images."""
    cosines = _cosines(exact.test, small.test)
    same = nearest(exact.test, exact.train, 1)[1] == nearest(small.test, small.train, 1)[1]
    knn: tuple[float, float] | None = None
    protocol = ""
    if task.classes and task.has("label"):
        evaluator = EVALUATORS["knn"].of("knn", config)
        (first, *_), (second, *_) = evaluator(exact, task), evaluator(small, task)
        knn, protocol = (first.value, second.value), first.protocol
    return Loss(
        way=way,
        chosen=means,
        cosine=float(cosines.mean()),
        lowest=float(cosines.min()),
        neighbours=float(same.float().mean()),
        knn=knn,
        protocol=protocol,
        tested=tested,
        size=(exact.size, small.size),
        seconds=(exact.seconds, small.seconds),
    )


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    return cosine_similarity(first, second, dim=1)


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"--format onnx-int8 needs {error.name}: pip install 'clsp[int8]'") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence advice on the root logger to do what is done here: onnxruntime's quantiser gives it."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    console.say("export: trying 8 bit in two ways, and measuring what they lose")
    try:
        yield
    finally:
        root.setLevel(before)
