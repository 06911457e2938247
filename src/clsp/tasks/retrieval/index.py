"""An index as files, and the search in it: a table of scores for each query, and a sum of look-ups for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from clsp import files
from clsp.errors import UserError
from clsp.tasks.retrieval.config import QuantiserConfig
from clsp.tasks.retrieval.quantiser import WORDS, Quantiser

QUANTISER, CODES, NAMES, FAISS = "quantiser.safetensors", "codes.npy", "names.json", "index.faiss"
_BLOCK = 1 << 14
"""Images whose scores are summed at a time."""
_FIX = "give --index the folder that 'clsp index' wrote, or make it again"


@dataclass(frozen=True)
class Index:
    """Codes of images with their names."""

    quantiser: Quantiser
    codes: np.ndarray
    """uint8 [parts, N]: a part's codes lie together, so that a look-up reads them in one go."""
    names: Sequence[str]
    """N names."""
    source: str = ""
    """The SOURCE that was indexed."""

    def __len__(self) -> int:
        return self.codes.shape[1]

    def scores(self, table: np.ndarray, images: slice = slice(None)) -> np.ndarray:
        """The scores of images for one query: float32 [N], at most the number of parts.

        Args:
            table: of the query, float32 [parts, WORDS], see `Quantiser.table`.
            images: which; all of them if not said.
        """
        found = np.take(table[0], self.codes[0, images], mode="clip")  # a byte is never outside of its table
        for part in range(1, len(table)):
            found += np.take(table[part], self.codes[part, images], mode="clip")
        return found

    def search(self, table: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best images for one query: places int64 [k] and scores float32 [k], the best first.

        The images are gone through in blocks that stay in the processor's cache; of each block only what beats the
        k-th best so far is looked at. Of equal scores the first image is the better.
        """
        places, scores, least = np.empty(0, np.int64), np.empty(0, np.float32), -np.inf
        for first in range(0, len(self), _BLOCK):
            block = self.scores(table, slice(first, first + _BLOCK))
            better = np.flatnonzero(block > least)
            if len(better):
                places = np.concatenate((places, better + first))
                scores = np.concatenate((scores, block[better]))
                best = np.lexsort((places, -scores))[:k]
                places, scores = places[best], scores[best]
                least = scores[-1] if len(scores) == k else least
        return places, scores

    def save(self, folder: Path) -> None:
        """Write quantiser, codes and names; for faiss, too, where that is installed."""
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.quantiser.state_dict().items()}
        files.write_bytes(folder / QUANTISER, save(state, metadata={"hardness": str(self.quantiser.hardness)}))
        files.write_array(folder / CODES, np.ascontiguousarray(self.codes))
        files.write_json(folder / NAMES, {"source": self.source, "names": list(self.names)})
        write_for_faiss(self, folder / FAISS)


@dataclass(frozen=True)
class _Named:
    """What names.json holds."""

    source: str
    names: list[str]


def read_index(folder: Path) -> Index:
    """Read an index.

    Raises:
        UserError: the folder holds none, or it is damaged.
    """
    if not (folder / CODES).is_file():
        raise UserError(f"--index {folder}: no {CODES} there; give a folder that 'clsp index' wrote")
    tensors, about = files.read_tensors(folder / QUANTISER, fix=_FIX)
    with files.foreign(folder / QUANTISER, _FIX, what="is no quantiser"):
        quantiser = _quantiser(tensors, about)
    codes = files.read_array(folder / CODES, mapped=True, fix=_FIX)
    named = files.read_json(folder / NAMES, _Named, fix=_FIX)
    with files.foreign(folder / CODES, _FIX):
        if codes.dtype != np.uint8 or codes.shape != (quantiser.parts, len(named.names)):
            raise ValueError(f"codes {codes.dtype} {list(codes.shape)} of {len(named.names)} names")
    return Index(quantiser, codes, named.names, named.source)


def _quantiser(tensors: dict[str, torch.Tensor], about: dict[str, str]) -> Quantiser:
    words, projection = tensors["words"], tensors["projection.weight"]
    if words.ndim != 3 or words.shape[1] != WORDS or projection.ndim != 2:
        raise ValueError(f"words of {list(words.shape)} values")
    parts, _, width = words.shape
    config: Any = {"bits": 8 * parts, "width": width, "hardness": float(about["hardness"])}
    quantiser = Quantiser(projection.shape[1], QuantiserConfig(**config))
    quantiser.load_state_dict(tensors)
    return quantiser.eval()


def write_for_faiss(index: Index, path: Path) -> bool:
    """Write codes and words as faiss's IndexPQ, see `for_faiss`; return whether faiss is installed."""
    try:
        import faiss
    except ModuleNotFoundError:
        return False
    made = for_faiss(index)
    with files.replaced(path) as temporary:
        faiss.write_index(made, str(temporary))
    return True


def for_faiss(index: Index) -> Any:
    """Make faiss's IndexPQ of codes and words, by inner product.

    A query for it is what `Quantiser.query` returns, its parts joined.
    """
    import faiss

    quantiser = index.quantiser
    made = faiss.IndexPQ(quantiser.parts * quantiser.width, quantiser.parts, 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(quantiser.unit_words.detach().cpu().numpy().ravel(), made.pq.centroids)
    made.is_trained = True
    made.add_sa_codes(np.ascontiguousarray(index.codes.T))
    return made
