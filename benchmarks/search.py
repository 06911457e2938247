"""Search by short codes: the best ten of a million within 50 ms, beside faiss's search of the same codes and words.

Words and codes are random: the time of an exhaustive search does not depend on what they say. Each round searches for
the same queries, one after the other. Quality is the fraction of queries for which both sides give the same ten scores.
"""

from __future__ import annotations

import statistics
from typing import Any

import faiss
import numpy as np
import torch
from harness import Result, arguments, copy_rate, finish, interleave, seconds_text, spread

from clsp.tasks.retrieval.config import QuantiserConfig
from clsp.tasks.retrieval.index import Index, for_faiss
from clsp.tasks.retrieval.quantiser import WORDS, Quantiser

WIDTH, BEST, LIMIT = 128, 10, 0.05
"""Values of an image's features, results of a query, and the seconds that it may take."""


def compare(bits: int, images: int, queries: int, rounds: int) -> Result:
    """Time both sides on random codes of ``bits``."""
    config: Any = {"bits": bits}
    quantiser = Quantiser(WIDTH, QuantiserConfig(**config)).eval()
    codes = np.random.default_rng(0).integers(0, WORDS, (quantiser.parts, images), dtype=np.uint8)
    index = Index(quantiser, codes, [])
    features, other = torch.randn(queries, WIDTH, generator=torch.Generator().manual_seed(0)), for_faiss(index)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        tables = quantiser.table(features)
        found["ours"] = np.stack([index.search(table, BEST)[1] for table in tables])

    def theirs() -> None:
        asked = quantiser.query(features).detach().flatten(1).numpy()
        found["faiss"] = np.concatenate([other.search(row[None], BEST)[0] for row in asked])

    taken = interleave(theirs, ours, rounds)
    same = float(np.isclose(found["ours"], found["faiss"], atol=1e-4).all(axis=1).mean())
    read = codes.nbytes / copy_rate()
    ratios = sorted(t / o for t, o in zip(taken.theirs, taken.ours, strict=True))
    against = {"same scores": same, "times as fast": [round(ratio, 2) for ratio in ratios]}
    return spread(
        f"a search in {images:,} codes of {bits} bits, against {seconds_text(LIMIT)}",
        1.0,
        [LIMIT * queries / seconds for seconds in taken.ours],
        ours=seconds_text(statistics.median(taken.ours) / queries),
        theirs=f"faiss {seconds_text(statistics.median(taken.theirs) / queries)}",
        floor=f"{codes.nbytes / 1e6:.0f} MB of codes are read in {seconds_text(read)}",
        quality={"faiss": against},
    )


def main() -> None:
    options = arguments(__doc__ or "", images=1_000_000, queries=20)
    faiss.omp_set_num_threads(options.threads)
    finish([compare(bits, options.images, options.queries, options.rounds) for bits in (16, 32, 64)], options.json)


if __name__ == "__main__":
    main()
