"""Pictures of an embedding: nearest neighbours and a 2-D map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from clsp import files
from clsp.engine.neighbours import nearest
from clsp.engine.threads import limited
from clsp.evaluation.task import Task
from clsp.images.imageset import subset
from clsp.images.sheet import save_sheet, visible

_QUERIES, _NEIGHBOURS, _POINTS, _COLUMNS = 10, 8, 1000, 40


def draw_neighbours(features: Tensor, task: Task, path: Path, *, seed: int) -> None:
    """Draw some test images, each with the test images that lie next to it in the embedding."""
    rows = subset(len(features), _QUERIES, seed=seed + 7)
    k = min(_NEIGHBOURS + 1, len(features))
    _, indices = nearest(features[torch.from_numpy(rows)], features, k)
    # The nearest is the image itself; where two files hold the same picture its place may differ.
    others = [[int(i) for i in found if int(i) != row][: k - 1] for row, found in zip(rows, indices)]
    places = np.array([[row, *found] for row, found in zip(rows, others)])
    save_sheet(path, files.take(task.test.images, places), separate_first=True)


def draw_map(features: Tensor, task: Task, classes: tuple[str, ...] | None, folder: Path, *, seed: int) -> None:
    """Write ``map.json`` and ``map_thumbnails.png``: the task's test images in two dimensions."""
    from sklearn.manifold import TSNE

    rows = subset(len(features), _POINTS, seed=seed + 8)
    unit = F.normalize(features[torch.from_numpy(rows)], dim=1).numpy()
    if len(rows) < 5:
        return
    perplexity = min(30.0, (len(rows) - 1) / 3)
    with limited():
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed % 2**32, metric="euclidean")
        points = tsne.fit_transform(unit)
    pictures = files.take(task.test.images, rows)
    size = _draw_sprite(pictures, folder / "map_thumbnails.png")
    labels = None if task.test.labels is None or not task.classes else task.test.labels[rows].tolist()
    record = {
        "x": [round(float(x), 3) for x in points[:, 0]],
        "y": [round(float(y), 3) for y in points[:, 1]],
        "labels": labels,
        "classes": list(classes) if classes and labels else None,
        "names": [task.test.names[int(row)] for row in rows],
        "method": f"t-SNE (perplexity {perplexity:.0f}) of the unit features of {len(rows)} {task.shown}",
        "sprite": {"columns": _COLUMNS, "size": size},
    }
    files.write_json(folder / "map.json", record)


def _draw_sprite(pictures: np.ndarray, path: Path) -> int:
    """Put all thumbnails in one picture; return their side in pixels."""
    side = min(32, pictures.shape[2])
    rows = -(-len(pictures) // _COLUMNS)
    sprite = Image.new("RGB", (_COLUMNS * side, rows * side))
    for number, picture in enumerate(visible(pictures)):
        tile = Image.fromarray(picture[0] if picture.shape[0] == 1 else picture.transpose(1, 2, 0)).resize((side, side))
        sprite.paste(tile, (number % _COLUMNS * side, number // _COLUMNS * side))
    with files.atomic(path) as file:
        sprite.save(file, format="PNG", optimize=True)
    return side
