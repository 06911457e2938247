"""NCR against the golden numbers of both of its forms, against the formula written out, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp.objectives.consistency import neighbour_consistency
from gloo import two


def waves(rows, columns, start):
    return torch.from_numpy(np.sin(start + np.arange(rows * columns).reshape(rows, columns)))


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("divergence", "golden"), [("forward", 0.2850649117680452), ("reverse", 0.06804302775035884)])
def test_both_forms_are_the_golden_numbers(divergence, golden):
    logits, features = 3 * waves(4, 3, 1), waves(4, 5, 2).abs()
    found = neighbour_consistency(logits, features, neighbours=2, temperature=2.0, divergence=divergence)
    assert float(found) == pytest.approx(golden, rel=1e-9)


def plain(logits, features, k, temperature, power):
    """The running form, an image at a time."""
    cosines = F.normalize(features, dim=1) @ F.normalize(features, dim=1).T
    losses = []
    for i in range(len(logits)):
        others = sorted((j for j in range(len(logits)) if j != i), key=lambda j: -cosines[i, j])[:k]
        weights = torch.stack([cosines[i, j].clamp(min=0) ** power for j in others])
        if weights.sum() == 0:
            losses.append(torch.zeros((), dtype=logits.dtype))
            continue
        said = torch.stack([F.softmax(logits[j] / temperature, dim=0) for j in others])
        target = (weights / weights.sum()) @ said
        losses.append((target * (target.log() - F.log_softmax(logits[i] / temperature, dim=0))).sum())
    return temperature**2 * torch.stack(losses).mean()


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_loss_and_gradient_are_those_of_the_formula_written_out(power):
    given = [drawn(0, 9, 4).requires_grad_(), drawn(1, 9, 6).requires_grad_()]
    ours = neighbour_consistency(*given, neighbours=3, temperature=1.5, power=power)
    expected = plain(*given, 3, 1.5, power)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(torch.autograd.grad(ours, given), torch.autograd.grad(expected, given))


def test_who_says_the_same_of_all_is_consistent():
    for divergence in ("forward", "reverse"):
        loss = neighbour_consistency(
            torch.ones(5, 3), drawn(0, 5, 4).float(), neighbours=2, temperature=2.0, divergence=divergence
        )
        assert abs(float(loss)) < 1e-6


def test_with_all_others_equally_alike_the_target_is_their_mean():
    logits, features = drawn(0, 4, 3), torch.ones(4, 2, dtype=torch.float64)
    said = F.softmax(logits, dim=1)
    targets = (said.sum(dim=0) - said) / 3
    expected = (targets * (targets.log() - said.log())).sum(dim=1).mean()
    torch.testing.assert_close(neighbour_consistency(logits, features, neighbours=99, temperature=1.0), expected)


def test_an_image_that_resembles_none_counts_as_consistent_and_makes_nothing_infinite():
    logits = drawn(0, 2, 3).requires_grad_()
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = neighbour_consistency(logits, features, neighbours=1, temperature=2.0)
    loss.backward()
    assert float(loss) == 0 and logits.grad.isfinite().all() and features.grad.isfinite().all()


def test_twins_are_neighbours_and_an_image_never_is_its_own():
    """Ties put an image itself anywhere among its neighbours: it is left out by its place, not by its rank."""
    logits, features = drawn(0, 2, 3), torch.ones(2, 4, dtype=torch.float64)
    said = F.softmax(logits, dim=1)
    expected = F.kl_div(said.log(), said.flip(0), reduction="batchmean")
    torch.testing.assert_close(neighbour_consistency(logits, features, neighbours=1, temperature=1.0), expected)


@pytest.mark.parametrize("detach", [False, True])
def test_the_gradient_reaches_the_targets_unless_they_are_detached(detach):
    logits, targets, features = drawn(0, 3, 4).requires_grad_(), drawn(1, 3, 4).requires_grad_(), drawn(2, 3, 5)
    more = (targets, features)
    neighbour_consistency(logits, features, neighbours=1, temperature=2.0, detach=detach, more=more).backward()
    assert logits.grad.abs().sum() > 0
    assert (targets.grad is None) == detach and (detach or targets.grad.abs().sum() > 0)


def test_further_images_are_neighbours_but_no_anchors():
    logits, features, more = drawn(0, 4, 3), drawn(1, 4, 5), drawn(2, 4, 3)
    found = neighbour_consistency(logits, features, neighbours=1, temperature=1.0, more=(more, features))
    expected = F.kl_div(F.log_softmax(logits, dim=1), F.softmax(more, dim=1), reduction="batchmean")
    torch.testing.assert_close(found, expected)


def _rank(rank):
    logits, features, more = (drawn(seed, 6, 4).float().requires_grad_() for seed in (0, 1, 2))
    part = slice(3 * rank, 3 * rank + 3)
    loss = neighbour_consistency(
        logits[part], features[part], neighbours=3, temperature=2.0, more=(more[part], features[part])
    )
    loss.backward()
    return {"loss": loss.detach(), **{name: t.grad for name, t in zip("zvm", (logits, features, more))}}


def test_two_processes_are_one(tmp_path):
    parts = two(_rank, tmp_path)
    logits, features, more = (drawn(seed, 6, 4).float().requires_grad_() for seed in (0, 1, 2))
    loss = neighbour_consistency(logits, features, neighbours=3, temperature=2.0, more=(more, features))
    loss.backward()
    np.testing.assert_allclose(sum(part["loss"] for part in parts) / 2, float(loss), rtol=1e-5)
    for name, tensor in zip("zvm", (logits, features, more)):
        np.testing.assert_allclose(sum(part[name] for part in parts) / 2, tensor.grad.numpy(), rtol=1e-4, atol=1e-6)
