"""Two processes that share one GPU, over gloo: the loss of one process with the whole batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp.objectives.nt_xent import nt_xent
from gloo import two

BATCH = 8


def embeddings(device):
    drawn = torch.randn(2, BATCH, 6, generator=torch.Generator().manual_seed(0))
    return [F.normalize(part, dim=1).to(device).requires_grad_() for part in drawn]


def half(rank):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    first, second = embeddings(device)
    mine = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    loss = nt_xent(first[mine], second[mine], 0.2)
    loss.backward()
    return {"loss": loss.detach().cpu().numpy(), "gradient": first.grad[mine].cpu().numpy()}


def test_two_processes_on_one_device_are_one(place, tmp_path):
    first, second = embeddings(place.device)
    whole = nt_xent(first, second, 0.2)
    whole.backward()
    parts = two(half, tmp_path)
    assert np.mean([part["loss"] for part in parts]) == pytest.approx(float(whole.detach()), rel=1e-5)
    gradient = np.concatenate([part["gradient"] for part in parts])
    np.testing.assert_allclose(gradient / 2, first.grad.cpu().numpy(), rtol=1e-4, atol=1e-6)
