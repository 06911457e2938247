"""The embedding of every image of a data set, as a table that others read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clsp import files
from clsp.errors import UserError
from clsp.evaluation.trained import Trained
from clsp.images.imageset import Images, Split
from clsp.text import csv_text, portable

ENDINGS = (".parquet", ".npz", ".csv")
"""Of the files that hold embeddings."""

_ROWS = 16_384
"""Rows of a row group: who reads a part of the file reads so many at once."""


@dataclass(frozen=True)
class Embeddings:
    """The embedding of every image, the train part first, with what tells which image it is."""

    images: Images
    values: np.ndarray
    """float32 [N, D]."""

    @classmethod
    def of(cls, images: Images, features: Sequence[Tensor]) -> Embeddings:
        """Put the features of all parts of ``images`` together, float32 [N, D] of each."""
        return cls(images, features[0].numpy() if len(features) == 1 else torch.cat(list(features)).numpy())

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def names(self) -> list[str]:
        """N names of images."""
        return [name for _, split in parts_of(self.images) for name in split.names]

    @cached_property
    def parts(self) -> list[str]:
        """``train`` or ``test``, N of them."""
        return [part for part, split in parts_of(self.images) for _ in range(len(split))]

    @cached_property
    def labels(self) -> list[str | None]:
        """The name of each image's class; None where it has no label."""
        found: list[str | None] = []
        for _, split in parts_of(self.images):
            numbers = [-1] * len(split) if split.labels is None else split.labels.tolist()
            found += [self._class(number) for number in numbers]
        return found

    def _class(self, number: int) -> str | None:
        classes = self.images.classes or ()
        return None if number < 0 else classes[number] if number < len(classes) else str(number)

    @property
    def pixels(self) -> files.Array:
        """The images themselves, uint8 [N, C, H, W], without a copy."""
        return files.Joined([split.images for _, split in parts_of(self.images)])

    def save(self, path: Path) -> None:
        """Write them as ``.parquet``, ``.npz`` or ``.csv``; the same embeddings make the same bytes.

        Parquet has the columns ``name``, ``part``, ``label`` (null where there is none) and ``embedding``, a list of D
        float32; npz the arrays ``names``, ``embeddings``, ``part`` and ``label`` (empty where there is none); CSV the
        columns ``name``, ``part``, ``label``, ``f0``, ``f1``, ...

        Raises:
            UserError: ``path`` has another ending.
        """
        require_ending(path)
        {".parquet": self._parquet, ".npz": self._npz, ".csv": self._csv}[path.suffix](path)

    def _parquet(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        def words(column: Sequence[str | None]) -> pa.Array:
            return pa.array([None if text is None else portable(text) for text in column], pa.string())

        lists = pa.FixedSizeListArray.from_arrays(pa.array(self.values.reshape(-1)), self.values.shape[1])
        columns = [words(self.names), words(self.parts), words(self.labels), lists]
        table = pa.table(columns, names=["name", "part", "label", "embedding"])
        with files.atomic(path) as file:
            parquet.write_table(table, file, row_group_size=_ROWS, use_dictionary=["part", "label"])

    def _npz(self, path: Path) -> None:
        names, parts = np.array(self.names), np.array(self.parts)
        labels = np.array([label or "" for label in self.labels])
        with files.atomic(path) as file:
            np.savez(file, names=names, embeddings=self.values, part=parts, label=labels)

    def _csv(self, path: Path) -> None:
        rows = (
            (name, part, label or "", *(f"{value:.6g}" for value in row))
            for name, part, label, row in zip(self.names, self.parts, self.labels, self.values, strict=True)
        )
        head = ["name", "part", "label", *(f"f{number}" for number in range(self.values.shape[1]))]
        files.write_text(path, csv_text(head, rows))


def require_ending(path: Path) -> None:
    """Refuse a file whose ending says no format, before any work is done.

    Raises:
        UserError: names the endings.
    """
    if path.suffix not in ENDINGS:
        raise UserError(
            f"--out {path}: embeddings are written as {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}; choose one of these "
            "endings"
        )


def parts_of(images: Images) -> list[tuple[str, Split]]:
    """The parts that the data have, each with its name."""
    parts = (("train", images.train), ("test", images.test))
    return [(name, split) for name, split in parts if split is not None]


def embed_all(trained: Trained, images: Images) -> Embeddings:
    """Embed every image; those of the evaluation's task were encoded before, and only the others are encoded now."""
    known = [(trained.data.train, lambda: trained.train), (trained.data.test, lambda: trained.test)]
    features = []
    for _, split in parts_of(images):
        held = [(rows, made) for part, made in known if (rows := files.rows_of(part.images, split.images)) is not None]
        features.append(_completed(trained, split, [(rows, made()) for rows, made in held]))
    return Embeddings.of(images, features)


def _completed(trained: Trained, split: Split, held: Sequence[tuple[np.ndarray, Tensor]]) -> Tensor:
    """The features of a whole part, float32 [N, D], of which those of some rows are known."""
    for rows, features in held:
        if len(rows) == len(split):  # in their order: rows are sorted
            return features
    if not held:
        return trained.features(split.images)
    missing = np.ones(len(split), dtype=bool)
    whole = torch.empty(len(split), held[0][1].shape[1])
    for rows, features in held:
        whole[torch.from_numpy(rows)], missing[rows] = features, False
    if missing.any():
        rest = np.flatnonzero(missing)
        whole[torch.from_numpy(rest)] = trained.features(files.Rows(split.images, rest))
    return whole
