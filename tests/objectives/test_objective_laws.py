"""The laws of weights and masks, once for all objectives that have pairs or negatives."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp import objectives
from clsp.objectives import OBJECTIVES
from clsp.objectives.alignment import alignment, negative_cosine
from clsp.objectives.clipped import clipped_nt_xent
from clsp.objectives.distribution import relational, soft_cross_entropy, swapped_prediction
from clsp.objectives.info_nce import info_nce
from clsp.objectives.nt_xent import nt_xent
from clsp.objectives.paired_nce import paired_nce
from clsp.objectives.sup_con import sup_con

TAU, B, K = 0.3, 6, 9
MEMORY = F.normalize(torch.randn(K, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1)
LABELS = torch.tensor([0, 1, 0, -1, 1, -1])

CALLS = {
    "alignment": alignment,
    "negative_cosine": negative_cosine,
    "nt_xent": lambda a, b, **how: nt_xent(a, b, TAU, **how),
    "clipped_nt_xent": lambda a, b, **how: clipped_nt_xent(a, b, TAU, **how),
    "paired_nce": lambda a, b, **how: paired_nce(a, b, TAU, **how),
    "info_nce": lambda a, b, memory=MEMORY, **how: info_nce(a, b, memory, TAU, **how),
    "sup_con": lambda a, b, **how: sup_con(a, b, LABELS, TAU, **how),
    "soft_cross_entropy": lambda a, b, **how: soft_cross_entropy(a.softmax(1), b, TAU, **how),
    "swapped_prediction": lambda a, b, **how: swapped_prediction([a.softmax(1), b.softmax(1)], [a, b], TAU, **how),
    "relational": lambda a, b, **how: relational(a, b, MEMORY, TAU, 0.1, **how),
    **{f"objective {name}": made() for name, made in OBJECTIVES.items()},
}
NO_LOSSES = {"weighted_mean", "sinkhorn", "compared"}
"""They have weights or a mask, and are no losses of pairs."""


def functions(argument):
    """The names of the functions in this folder that take ``argument``."""
    found = set()
    for entry in pkgutil.iter_modules(objectives.__path__):
        module = importlib.import_module(f"clsp.objectives.{entry.name}")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                found |= {name} if argument in inspect.signature(value).parameters else set()
    return found - NO_LOSSES


MASKED = [*sorted(functions("ignore")), *(f"objective {name}" for name, made in OBJECTIVES.items() if made.negatives)]


def test_every_function_with_weights_or_a_mask_is_held_to_the_laws():
    assert functions("weights") | {f"objective {name}" for name in OBJECTIVES.names()} == CALLS.keys()
    assert set(MASKED) <= CALLS.keys()
    assert functions("ignore") <= functions("weights")


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, 5, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)]


def others(name):
    """How many columns a mask has."""
    return K if name == "info_nce" else B


def plain(name, a, b, weights, ignore):
    """The formulas with loops, one number at a time."""
    a, b, memory = (np.asarray(x / x.norm(dim=1, keepdim=True)) for x in (a.detach(), b.detach(), MEMORY))
    total = 0.0
    if name in ("paired_nce", "info_nce"):
        for i in range(B):
            own = a[i] @ b[i] / TAU
            columns = memory if name == "info_nce" else b
            logits = [
                a[i] @ columns[j] / TAU
                for j in range(len(columns))
                if not ignore[i, j] and (name == "info_nce" or j != i)
            ]
            total += weights[i] * (np.log(np.exp([own, *logits]).sum()) - own) / B
        return total
    z, labels = np.concatenate((a, b)), LABELS.tolist() if name == "sup_con" else list(range(B))
    for i in range(2 * B):
        alike = [j % B == i % B or (labels[j % B] == labels[i % B] >= 0) for j in range(2 * B)]
        positives = [j for j in range(2 * B) if j != i and alike[j]]
        kept = [j for j in range(2 * B) if j != i and (j in positives or not ignore[i % B, j % B])]
        log_sum = np.log(np.exp([z[i] @ z[j] / TAU for j in kept]).sum())
        each = [z[i] @ z[p] / TAU - log_sum for p in positives]
        total -= weights[i % B] * np.mean(each) / (2 * B)
    return total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(functions("ignore")))
def test_the_loss_with_weights_and_a_mask_is_the_plain_formula(pair, name, seed):
    rng = np.random.default_rng(seed)
    weights, ignore = rng.random(B), rng.random((B, others(name))) < 0.4
    options = {"weights": torch.from_numpy(weights), "ignore": torch.from_numpy(ignore)}
    none = {"weights": np.ones(B), "ignore": np.zeros_like(ignore)}
    for given in ((), ("weights",), ("ignore",), ("weights", "ignore")):
        found = CALLS[name](*pair, **{key: options[key] for key in given})
        expected = plain(name, *pair, *(options[key].numpy() if key in given else none[key] for key in none))
        assert float(found) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", CALLS)
def test_weights_of_1_are_none_and_the_loss_is_linear_in_them(pair, name):
    call, weights = CALLS[name], torch.rand(B, dtype=torch.float64)
    torch.testing.assert_close(call(*pair, weights=torch.ones(B).double()), call(*pair), rtol=1e-12, atol=0)
    singles = torch.stack([call(*pair, weights=one) for one in torch.eye(B).double()])
    torch.testing.assert_close((weights * singles).sum(), call(*pair, weights=weights), rtol=1e-10, atol=0)
    assert float(singles.detach().std()) > 1e-3 * abs(float(singles.detach().mean()))


@pytest.mark.parametrize("name", MASKED)
def test_an_empty_mask_is_none_and_a_full_one_leaves_the_pair_alone(pair, name):
    call, width = CALLS[name], others(name)
    assert torch.equal(call(*pair, ignore=torch.zeros(B, width).bool()), call(*pair))
    if width == B:
        assert torch.equal(call(*pair, ignore=torch.eye(B).bool()), call(*pair))
    full = torch.ones(B, width).bool()
    if name == "sup_con":
        expected = plain(name, *pair, np.ones(B), full.numpy())
        assert float(sup_con(*pair, torch.arange(B), TAU, ignore=full)) == pytest.approx(0.0, abs=1e-12)
    else:
        expected = 0.0
    assert float(call(*pair, ignore=full)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", MASKED)
def test_what_an_anchor_ignores_gets_no_gradient_from_it_and_plays_no_part(pair, name):
    """Image 3 (row 3 of the memory) and the loss of anchor 0 alone, which is of another label."""
    call, first = CALLS[name], torch.eye(B).double()[0]
    mask = torch.zeros(B, others(name)).bool()
    for masked in (False, True):
        mask[0, 3] = masked
        if name == "info_nce":
            changed = MEMORY.clone()
            changed[3] = -changed[3]
            values = [call(*pair, memory=m, weights=first, ignore=mask) for m in (MEMORY, changed)]
            assert torch.equal(*values) == masked
            continue
        gradients = torch.autograd.grad(call(*pair, weights=first, ignore=mask), pair)
        assert (max(float(part[3].abs().max()) for part in gradients) == 0.0) == masked
        assert max(float(part[1].abs().max()) for part in gradients) > 0.0


@pytest.mark.parametrize(("name", "sides"), [("info_nce", 1), ("relational", 1), ("soft_cross_entropy", 0)])
def test_targets_get_no_gradient(pair, name, sides):
    gradients = torch.autograd.grad(CALLS[name](*pair), pair, allow_unused=True)
    assert gradients[sides] is None
    assert float(gradients[1 - sides].abs().max()) > 0


def test_images_without_a_label_are_no_class(pair):
    """A set may label a part of its images alone, as STL-10 does."""
    assert torch.equal(sup_con(*pair, torch.full((B,), -1), TAU), sup_con(*pair, torch.arange(B), TAU))
    torch.testing.assert_close(sup_con(*pair, torch.full((B,), -1), TAU), nt_xent(*pair, TAU))
