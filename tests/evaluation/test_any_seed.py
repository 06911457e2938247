"""Any integer is a seed, also where scikit-learn takes those of 32 bits alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.findings.clusters import _fitted
from clsp.evaluation.look import draw_map
from clsp.evaluation.measure import difference
from clsp.evaluation.task import make_task
from clsp.explorer.projection import project
from clsp.tasks.retrieval.config import QuantiserConfig
from clsp.tasks.retrieval.quantiser import Quantiser


@pytest.mark.parametrize("seed", [-1, 2**32, 20240915123456])
def test_scikit_learn_gets_a_seed_that_it_takes(make_images, tmp_path, seed):
    images = make_images(60, 24)
    features = torch.randn(24, 8, generator=torch.Generator().manual_seed(0))
    draw_map(features, make_task(images, EvaluateConfig(), seed=seed), images.classes, tmp_path, seed=seed)
    assert (tmp_path / "map.json").is_file()
    assert len(project(features.numpy(), seed=seed).points) == 24
    assert len(_fitted(features.numpy(), 3, seed).cluster_centers_) == 3
    Quantiser(8, QuantiserConfig(bits=8, width=4)).fit(features, seed=seed)


def test_one_image_tells_no_interval():
    assert difference(np.array([True]), np.array([False])) == {"mean": 100.0}
