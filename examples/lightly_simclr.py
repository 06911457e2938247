"""Train lightly's SimCLR on anchors and their synthetic positives: python examples/lightly_simclr.py BANK EPOCHS.

BANK is the folder ``positives`` of a run, or the one that ``clsp synthesize`` made.
"""

from __future__ import annotations

import sys

import timm
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms.simclr_transform import SimCLRViewTransform
from torch.utils.data import DataLoader

import clsp


def train(pairs: clsp.PositivePairs, epochs: int, *, name: str = "resnet18", batch_size: int = 64) -> list[float]:
    """Train an encoder on pairs; return the mean loss of each epoch."""
    loader = DataLoader(pairs, batch_size, shuffle=True, drop_last=True, collate_fn=clsp.collate_pairs)
    backbone = timm.create_model(name, num_classes=0, in_chans=pairs.images.channels)
    model = torch.nn.Sequential(backbone, SimCLRProjectionHead(backbone.num_features, 256, 64))
    optimizer, criterion = torch.optim.AdamW(model.parameters(), 1e-3), NTXentLoss(temperature=0.2)
    means = []
    for epoch in range(epochs):
        pairs.set_epoch(epoch)  # another candidate of each anchor
        losses = []
        for (anchors, candidates), _, _ in loader:
            loss = criterion(model(anchors), model(candidates))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
        print(f"epoch {epoch}: loss {means[-1]:.3f}")
    return means


if __name__ == "__main__":
    bank, epochs = sys.argv[1], int(sys.argv[2])
    images = clsp.images_of(bank)
    view = SimCLRViewTransform(images.size, cj_prob=0.0, min_scale=0.4, gaussian_blur=0.0, normalize=None)
    train(clsp.PositivePairs(images, bank, transform=view), epochs)
