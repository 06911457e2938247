"""One backbone of each of timm's modules: which work at a size, which are refused before any work, which crash.

    python experiments/backbones.py studies/backbones/result.json

Of each module a small model is taken, by its name. It is tried as every command tries it before the first
stage; what is not refused is trained for a step (SimCLR, 4 images), saved, and loaded again. A crash is an exception
that is no line for the user, or features that differ after loading. --only MODULE,MODULE takes some.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import timm
import torch

from clsp import files
from clsp.encoders.config import BackboneConfig, PredictorConfig, ProjectorConfig
from clsp.encoders.export import load_encoder, save_encoder
from clsp.errors import UserError
from clsp.images.imageset import Images, Split
from clsp.training.checks import check_backbone
from clsp.training.config import PretrainConfig
from clsp.training.pretrain import build

CASES: tuple[tuple[int, Literal["auto", "big"]], ...] = ((28, "auto"), (28, "big"), (224, "big"))
"""Height and width of the images, and the stem."""

SMALL = ["atto", "femto", "pico", "nano", "tiny", "xxs", "xs", "_050", "mini", "small", "s0", "b0", "18", "lite", "_s"]
"""Words of names that tell a small model, the smallest first."""


def modules() -> dict[str, str]:
    """A small model of each of timm's modules, by what its name says of its size."""
    from timm.models import _registry

    found: dict[str, list[str]] = {}
    for name in timm.list_models():
        found.setdefault(_registry._model_to_module[name], []).append(name)
    return {module: min(names, key=_size) for module, names in sorted(found.items())}


def _size(name: str) -> int:
    return next((place for place, word in enumerate(SMALL) if word in name), len(SMALL))


def noise(size: int) -> Images:
    """Four images."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, size, size), dtype=np.uint8)
    return Images(source="noise", train=Split(images=pixels, names=[str(i) for i in range(4)]))


def tried(name: str, size: int, stem: Literal["auto", "big"]) -> dict[str, Any]:
    """Try one backbone, from the check to the loaded encoder."""
    images = noise(size)
    config = PretrainConfig(
        backbone=BackboneConfig(name=name, stem=stem),
        projector=ProjectorConfig(hidden=16, dim=8),
        predictor=PredictorConfig(hidden=16),
        batch_size=4,
        precision="32",
    )
    try:
        check_backbone(config, images)
    except UserError as error:
        return {"outcome": "refused", "line": str(error)}
    except Exception as error:
        return {"outcome": "crash", "line": f"in the check: {error!r}"[:300]}
    try:
        training, spec = build(images, config, np.arange(4), None, seed=0)
        training.to_device(torch.device("cpu"))
        training.step(0).loss.backward()
        encoder, pixels = training.method.encoder.eval(), torch.rand(2, 3, size, size)
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            save_encoder(Path(folder), encoder, spec, {})
            if not torch.allclose(encoder(pixels), load_encoder(folder)(pixels), atol=1e-4, equal_nan=True):
                return {"outcome": "crash", "line": "the loaded encoder gives other features"}
    except Exception as error:
        return {"outcome": "crash", "line": f"after the check: {error!r}"[:300]}
    return {"outcome": "works", "line": ""}


def main() -> None:
    """Try all, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", type=lambda text: text.split(","))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    chosen = {module: name for module, name in modules().items() if args.only is None or module in args.only}
    counts: dict[str, dict[str, int]] = {}
    found: dict[str, Any] = {}
    for size, stem in CASES:
        case = f"{size} pixels, stem {stem}"
        rows = {}
        for module, name in chosen.items():
            rows[module] = {"backbone": name, **tried(name, size, stem)}
            print(case, module, *rows[module].values(), flush=True)
            gc.collect()
        counts[case] = {"works": 0, "refused": 0, "crash": 0, **Counter(row["outcome"] for row in rows.values())}
        found[case] = rows
    files.write_json(args.out, {"timm": timm.__version__, "modules": len(chosen), "counts": counts, "cases": found})
    print(counts)


if __name__ == "__main__":
    main()
