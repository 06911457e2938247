"""Exact neighbours on a GPU: queries among a million vectors of 2,048 numbers, as a fraction of the measured peak."""

from __future__ import annotations

import torch
from gpu_harness import options_of, seconds, share
from harness import finish

from clsp.engine.neighbours import nearest


def main() -> None:
    options = options_of(__doc__)
    count, width, queries = (2000, 64, 50) if options.tiny else (1_000_000, 2048, 2000)
    references = torch.randn(count, width, device=options.device)
    asked = torch.randn(queries, width, device=options.device)
    peak = options.peak(torch.float32)  # as the search is
    taken = [seconds(lambda: nearest(asked, references, 20)) for _ in range(options.rounds)]
    each = {"ms a query": round(1e3 * min(taken) / queries, 3)}
    name = f"{queries:,} queries among {count:,} x {width}: fraction of the peak in 32 bit"
    found = share(name, 0.5, 2.0 * count * width * queries, taken, peak, quality=each)
    finish([found], options.json, "neighbours")


if __name__ == "__main__":
    main()
