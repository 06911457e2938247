"""Features of frozen encoders, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clsp import files
from clsp.encoders.export import load_encoder, read_spec
from clsp.engine.memory import in_batches


@torch.no_grad()
def encode_images(
    encoder: nn.Module, images: files.Array, mean: Tensor, std: Tensor, *, batch_size: int = 500
) -> Tensor:
    """Encode images with a frozen encoder in eval mode; its weights and BatchNorm statistics do not change.

    They are encoded on the encoder's device, and no more pixels than a batch are held.

    Args:
        encoder: a module from float [B, C, H, W] to [B, D].
        images: uint8 [N, C, H, W], in memory, memory-mapped or lazy.
        mean: channel means on [0, 1], float [C].
        std: channel standard deviations, float [C].
        batch_size: images at once; fewer where memory does not suffice.

    Returns:
        float32 [N, D], on the CPU.
    """
    training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    mean, std = mean.to(device).view(-1, 1, 1), std.to(device).view(-1, 1, 1)

    def features(first: int, last: int) -> Tensor:
        batch = torch.from_numpy(files.take(images, np.arange(first, last))).to(device)
        encoded: Tensor = encoder((batch.float() / 255.0 - mean) / std)
        return encoded.float().cpu()

    found = torch.cat(in_batches(features, len(images), batch_size))
    encoder.train(training)
    return found


def encode_by(
    folder: Path, parts: Sequence[files.Array], *, device: torch.device | str, batch_size: int = 500
) -> list[Tensor]:
    """Encode several sets of images with the encoder in ``folder``.

    Args:
        folder: an encoder's folder.
        parts: uint8 [N, C, H, W] each.
        device: where the encoder works.
        batch_size: images at once.

    Returns:
        float32 [N, D] for each part, on the CPU.
    """
    encoder, spec = load_encoder(folder).to(device).to(memory_format=torch.channels_last), read_spec(folder)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    return [encode_images(encoder, part, mean, std, batch_size=batch_size) for part in parts]
