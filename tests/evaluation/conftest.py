"""A small encoder on disk."""

from __future__ import annotations

import pytest
import torch

from clsp.encoders.export import EncoderSpec, save_encoder


@pytest.fixture
def encoder(tmp_path):
    args = {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}
    spec = EncoderSpec(name="resnet18", args=args, stem="small", size=16, mean=[0.5] * 3, std=[0.2] * 3)
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder", spec.build(), spec, {})
    return tmp_path / "encoder"
