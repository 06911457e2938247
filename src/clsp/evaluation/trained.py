"""What was trained, as evaluators see it: features of the task's images, computed once, and of any others."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save
from torch import Tensor

from clsp import files
from clsp.encoders.export import read_spec
from clsp.encoders.features import encode_by
from clsp.errors import UserError
from clsp.evaluation.task import Task


class Trained(ABC):
    """Something that makes features of images.

    Args:
        folder: where it lies.
        data: the task that it is evaluated on.
        device: where it works; what it makes comes back to the CPU.
    """

    kind: ClassVar[str]
    """``encoder``, or what else it is; evaluators that need more than features ask for it."""
    note: str = ""
    """What every protocol is to say of it, behind its own words."""

    def __init__(self, folder: Path, data: Task, *, device: torch.device | str = "cpu") -> None:
        self.folder, self.data, self.device = folder, data, device

    @abstractmethod
    def features(self, images: files.Array) -> Tensor:
        """Features of uint8 images [N, C, H, W]: float32 [N, D], on the CPU."""

    @property
    def train(self) -> Tensor:
        """Features of the task's train images, float32 [N, D]."""
        return self._parts[0]

    @property
    def test(self) -> Tensor:
        """Features of the task's test images, float32 [M, D]."""
        return self._parts[1]

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        return self.features(self.data.train.images), self.features(self.data.test.images)


class Encoder(Trained):
    """An encoder's folder.

    Args:
        folder: an encoder's folder; nothing is written there.
        data: the task that it is evaluated on.
        device: where it works.
        batch_size: images encoded at once.
        cache: file that keeps the features; it is used when encoder and task are the same.

    Raises:
        UserError: the encoder takes other images than the task has.
    """

    kind = "encoder"

    def __init__(
        self,
        folder: Path,
        data: Task,
        *,
        device: torch.device | str = "cpu",
        batch_size: int = 500,
        cache: Path | None = None,
    ) -> None:
        super().__init__(folder, data, device=device)
        self.batch_size, self._cache, self.spec = batch_size, cache, read_spec(folder)
        channels = data.train.images.shape[1]
        if self.spec.channels != channels:
            raise UserError(
                f"--encoder {folder} takes {self.spec.channels}-channel images, the data have {channels}; "
                f"add --images.channels {self.spec.channels}"
            )

    def features(self, images: files.Array) -> Tensor:
        """Pooled features float32 [N, D]."""
        return self._encoded(images)[0]

    def _encoded(self, *parts: files.Array) -> list[Tensor]:
        return encode_by(self.folder, parts, device=self.device, batch_size=self.batch_size)

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        key = files.fingerprint([files.file_hash(self.folder / "encoder.safetensors"), self.data.key])
        if self._cache is not None and (kept := _read(self._cache, key)) is not None:
            return kept
        train, test = self._encode_parts()
        if self._cache is not None:
            mark = torch.frombuffer(bytearray(_mark(key, train, test)), dtype=torch.uint8)
            files.write_bytes(self._cache, save({"train": train, "test": test, "key": mark}))
        return train, test

    def _encode_parts(self) -> tuple[Tensor, Tensor]:
        """Encode the task's images; where the test images are the train images, once."""
        train, test = self.data.train.images, self.data.test.images
        if train is test:
            (features,) = self._encoded(train)
            return features, features.clone()  # a file of tensors holds none twice
        first, second = self._encoded(train, test)
        return first, second


def _read(cache: Path, key: str) -> tuple[Tensor, Tensor] | None:
    """The features kept in ``cache``; None where it is missing, damaged, or another encoder's or task's."""
    if not cache.exists():
        return None
    try:
        stored, _ = files.read_tensors(cache)
        with files.foreign(cache):
            train, test = stored["train"], stored["test"]
            return (train, test) if bytes(stored["key"].numpy()) == _mark(key, train, test) else None
    except UserError:
        return None


def _mark(key: str, train: Tensor, test: Tensor) -> bytes:
    """What tells whether features are those of ``key``, and undamaged."""
    digest = hashlib.sha256(key.encode())
    for part in (train, test):
        digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
        digest.update(part.contiguous().numpy().data)
    return digest.digest()
