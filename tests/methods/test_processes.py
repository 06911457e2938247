"""The law of processes: two gloo processes are one on the same global batch, for every method, source and objective.

BatchNorm and dropout are in eval mode: a loss is then a function of the batch alone, whoever computes which row of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from clsp.engine.pixels import Pixels
from clsp.methods import METHODS
from clsp.objectives import OBJECTIVES
from clsp.positives.placement import Host, Third
from clsp.positives.source import Material
from clsp.positives.sources.frames import Frames
from clsp.positives.sources.neighbour import Neighbour
from clsp.training.config import PositiveConfig, PretrainConfig
from clsp.training.step import Pretraining
from gloo import Flat, two
from tiny import images_of, pretrain_config, small, vit

STEPS = 3


@dataclass(frozen=True)
class Case:
    """What is trained for three steps of eight images."""

    method: str
    label: str = "alone"
    positive: Any = None

    def __str__(self):
        return f"{self.method} {self.label}"


def cases():
    frames = {"source": "frames", "frames": Frames(window=4)}
    neighbours = {"source": "neighbour", "neighbour": Neighbour(memory=12)}
    third = {**frames, "third": Third(trim=0.3)}
    for name, made in METHODS.items():
        yield Case(name)
        yield Case(name, "with frames", PositiveConfig(**third, objective="nt_xent"))
        weigh, host = made.weighs_pairs, Host(odds=5.0, weigh="loss")
        inside = {"source": "frames", "frames": Frames(window=4, weigh=weigh), "placement": "host", "host": host}
        yield Case(name, "with frames in place", PositiveConfig(**inside))
        yield Case(name, "with neighbours", PositiveConfig(**neighbours))
        if made.takes_neighbours:
            positive = PositiveConfig(**neighbours, placement="host", host=Host(odds=2.0))
            yield Case(name, "with neighbours in place", positive)
    for name in OBJECTIVES.names():
        yield Case("simclr", f"with frames and {name}", PositiveConfig(**third, objective=name))
        mixed = {"source": "mixture", "third": Third(trim=0.3)}
        yield Case("simclr", f"with mixtures and {name}", PositiveConfig(**mixed, objective=name))


def method_of(case, config):
    made = METHODS[case.method]
    own = made.Settings(**small(case.method, **({"memory": 12} if "memory" in small(case.method) else {})))
    torch.manual_seed(0)
    method = made(vit(8, patch=4) if made.patches else Flat(64), config.heads, own, seed=0)
    chosen = config.positive
    if chosen.source == "neighbour":
        host = chosen.host if chosen.placement == "host" else None
        method.neighbour = chosen.chosen.search(config.projector.dim, seed=0, host=host)
    return method


def training_of(case):
    images = images_of(24, None, channels=1, size=8)
    names = [f"{i % 3}/{i // 3}.png" for i in range(24)]
    config: PretrainConfig = pretrain_config(method=case.method, batch_size=8, epochs=2)
    if case.positive is not None:
        config = pretrain_config(method=case.method, batch_size=8, epochs=2, positive=case.positive)
    ids = np.arange(24)
    split = images.train
    # Labels that are not the folders, and that not every half of a batch holds alike.
    material = Material(Pixels(split.images, ids), ids, np.arange(24) // 5, split.images, names)
    statistics = torch.full((1,), 0.5), torch.full((1,), 0.25)
    training = Pretraining(method_of(case, config), config, material, 24, *statistics, seed=0)
    training.to_device(torch.device("cpu"))
    return training.eval()


def run(case):
    """Losses and terms of every step, gradients of the last, and all state afterwards."""
    training = training_of(case)
    optimizer = torch.optim.SGD([p for p in training.parameters() if p.requires_grad], 0.1)
    found = {}
    for number in range(STEPS):
        optimizer.zero_grad()
        output = training.step(number)
        output.loss.backward()
        for part in training.parameters():  # as DDP does
            if dist.is_initialized() and part.grad is not None:
                dist.all_reduce(part.grad)
                part.grad /= dist.get_world_size()
        found |= {f"mean {name} {number}": value.detach() for name, value in output.terms.items()}
        found |= {f"grad {name} {number}": p.grad for name, p in training.named_parameters() if p.grad is not None}
        optimizer.step()
        training.after_step(number)
    found |= {f"state {name}": value for name, value in training.state_dict().items()}
    return {name: value.clone().numpy() for name, value in found.items()}


def work(rank):
    return {f"{case}|{name}": value for case in cases() for name, value in run(case).items()}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two(work, tmp_path_factory.mktemp("gloo"))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_two_processes_are_one_in_loss_gradient_and_all_they_remember(ranks, case):
    whole = run(case)
    assert max(np.abs(value).max() for name, value in whole.items() if name.startswith("grad")) > 1e-4
    for name, value in whole.items():
        both = [rank[f"{case}|{name}"] for rank in ranks]
        if name.startswith("mean"):
            both = [np.mean(both, axis=0)]
        for found in both:
            scale = max(1.0, float(np.abs(value).max()))  # DINO's first gradients are steep
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=2e-5 * scale, err_msg=name)
    assert {name.partition("|")[2] for name in ranks[0] if name.startswith(f"{case}|")} == set(whole)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_case_shows_what_it_is_meant_to(case):
    """Weights, masks and memories that are all alike would prove nothing."""
    training = training_of(case)
    every = [training.views(number) for number in range(STEPS)]
    if case.positive is not None and case.positive.source == "frames":
        ignored = torch.stack([views.ignore for views in every])
        assert ignored[:, :4, :4].any() and ignored[:, :4, 4:].any() and ignored[:, 4:, :4].any()
        in_place = case.positive.placement == "host"
        weights = [views.pair_weights if in_place else views.weights for views in every]
        weighed = not in_place or METHODS[case.method].weighs_pairs
        assert all((len(part.unique()) > 1) if weighed else part is None for part in weights)
    memories = {item.name for item in fields(METHODS[case.method].Settings)} & {"memory"}
    assert bool(memories) == any(".rows" in name for name in training.state_dict() if "neighbour" not in name)
