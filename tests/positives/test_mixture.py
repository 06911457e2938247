"""Mixtures of two anchors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clsp.objectives import OBJECTIVES
from clsp.objectives.alignment import Alignment
from clsp.objectives.nt_xent import NTXent
from clsp.objectives.paired_nce import paired_nce
from clsp.positives.placement import Third
from clsp.positives.sources.mixture import Blend

CPU = torch.device("cpu")


def mixture(count):
    return Blend(np.arange(100, 100 + count), seed=0, device=CPU)


def test_neighbours_in_the_batch_are_blended_by_the_anchors_share():
    anchors = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = mixture(8)(torch.tensor([3, 0, 7, 1, 2]), anchors, 6)
    assert made.mates.tolist() == [1, 0, 3, 2, 4]
    for row, (mate, share) in enumerate(zip(made.mates.tolist(), made.weights.tolist(), strict=True)):
        expected = share * anchors[row].double() + (1 - share) * anchors[mate].double()
        assert float((made.images[row].double() - expected).abs().max()) <= 0.51
    assert torch.equal(made.images[4], anchors[4])


def test_shares_are_uniform_and_named_by_image_and_step():
    anchors = torch.zeros(8, 1, 2, 2, dtype=torch.uint8)
    shares = torch.stack([mixture(8)(torch.arange(8), anchors, step).weights for step in range(500)])
    counts = torch.histc(shares, 10, 0.0, 1.0)
    assert float((counts / shares.numel() - 0.1).abs().max()) < 0.02
    turned = mixture(8)(torch.arange(8).flip(0), anchors, 3).weights
    assert torch.equal(turned.flip(0), shares[3])


def pulled(weights=None, mates=None, objective=None):
    drawn = torch.Generator().manual_seed(1)
    pull = (
        torch.randn(6, 4, generator=drawn, dtype=torch.float64),
        torch.randn(6, 4, generator=drawn, dtype=torch.float64),
    )
    return pull, Third().term(pull, objective or Alignment(), 0.0, weights=weights, mates=mates)


MATES = torch.tensor([1, 0, 3, 2, 5, 4])
SHARES = torch.tensor([0.9, 0.2, 0.5, 0.7, 0.3, 1.0], dtype=torch.float64)


def test_alignment_with_both_anchors_is_the_formula_written_plainly():
    (anchors, positives), term = pulled(SHARES, MATES)
    expected = 0.0
    for i in range(6):
        to_own = 2 - 2 * F.cosine_similarity(anchors[i], positives[i], dim=0)
        to_mate = 2 - 2 * F.cosine_similarity(anchors[MATES[i]], positives[i], dim=0)
        expected += (SHARES[i] * to_own + (1 - SHARES[i]) * to_mate) / 6
    torch.testing.assert_close(term, expected)


def test_nt_xent_of_a_mixture_is_cross_entropy_with_a_soft_target():
    """Rows of mixtures: the target is l e_i + (1 - l) e_mate over anchors and the other mixtures."""
    (anchors, positives), term = pulled(SHARES, MATES, NTXent(temperature=0.3))
    a, p = F.normalize(anchors, dim=1), F.normalize(positives, dim=1)
    total = 0.0
    for i in range(6):
        own, mate, share = i, int(MATES[i]), SHARES[i]
        others = torch.cat((a, torch.cat((p[:i], p[i + 1 :]))))
        log = F.log_softmax(p[i] @ others.T / 0.3, dim=0)
        total = total - (share * log[own] + (1 - share) * log[mate]) / 12
        # Rows of anchors: the anchor's own mixture, and the one that it is the lesser part of.
        others = torch.cat((p, torch.cat((a[:i], a[i + 1 :]))))
        log = F.log_softmax(a[i] @ others.T / 0.3, dim=0)
        total = total - (share * log[i] + (1 - SHARES[mate]) * log[mate]) / 12
    torch.testing.assert_close(term, total)


def test_a_share_of_1_is_the_plain_term_and_exchanging_anchors_and_shares_changes_nothing():
    ones = torch.ones(6, dtype=torch.float64)
    for _, kind in OBJECTIVES.items():
        (anchors, positives), plain = pulled(objective=kind())
        torch.testing.assert_close(pulled(ones, MATES, kind())[1], plain)
        swapped = Third().term((anchors[MATES], positives), kind(), 0.0, weights=1 - SHARES, mates=MATES)
        torch.testing.assert_close(swapped, pulled(SHARES, MATES, kind())[1])


def test_the_soft_target_has_the_golden_number_of_i_mix():
    """i-Mix's form, share 0.7, tau 0.2, partner = the reversed batch."""
    rows, columns = (torch.sin(s + torch.arange(12, dtype=torch.float64)).view(4, 3) for s in (1.0, 2.0))
    share = torch.full((4,), 0.7, dtype=torch.float64)
    mixed = paired_nce(rows, columns, 0.2, weights=share)
    # The partner's key is column perm(i) for row i: the same columns, met by the rows in reversed order.
    logits = F.normalize(rows, dim=1) @ F.normalize(columns, dim=1).T / 0.2
    mixed = mixed + 0.3 * F.cross_entropy(logits, torch.arange(4).flip(0))
    assert float(mixed) == pytest.approx(2.4230201325123524, rel=1e-6)
