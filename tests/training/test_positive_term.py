"""The term of the additional positive."""

from __future__ import annotations

import pytest
import torch
from clsp.recipes.limits import check_values
from clsp.recipes.options import parse_recipe
from clsp.training.positive_term import positive_term, positive_weight, share_in_place

from clsp.errors import UserError
from clsp.objectives.alignment import alignment
from clsp.training.config import PretrainConfig


@pytest.fixture
def pair():
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, generator=drawn, dtype=torch.float64), torch.randn(
        5, 3, generator=drawn, dtype=torch.float64
    )


def test_the_papers_term_is_the_default(pair):
    assert float(positive_term(pair, PretrainConfig(), 0.3)) == pytest.approx(float(alignment(*pair)))
    assert float(positive_term(pair, PretrainConfig(positive_weight=0.5), 0.3)) == float(0.5 * alignment(*pair))


def plain_nt_xent(pair, temperature):
    """The losses of the ten views, as the formula stands."""
    z = torch.cat(pair)
    z = z / z.norm(dim=1, keepdim=True)
    losses = []
    for i in range(10):
        scores = [float(z[i] @ z[j]) / temperature for j in range(10)]
        others = torch.tensor([scores[j] for j in range(10) if j != i])
        losses.append(float(torch.logsumexp(others, 0)) - scores[(i + 5) % 10])
    return losses


def test_nt_xent_is_the_formula_written_plainly(pair):
    config = PretrainConfig(positive_objective="nt_xent", positive_temperature=0.4, positive_weight=2.0)
    expected = 2.0 * sum(plain_nt_xent(pair, 0.4)) / 10
    assert float(positive_term(pair, config, 0.3)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("trim", "kept"), [(0.1, 5), (0.2, 4), (0.4, 3), (0.5, 3), (0.8, 1)])
def test_trimming_leaves_out_the_pairs_that_lie_farthest_apart(pair, trim, kept):
    """The mean is over the pairs that are kept; those left out stay among the negatives of NT-Xent."""
    distances = 2.0 - 2.0 * torch.cosine_similarity(*pair, dim=1)
    order = distances.argsort()[:kept].tolist()
    aligned = positive_term(pair, PretrainConfig(positive_trim=trim), 0.3)
    assert float(aligned) == pytest.approx(float(distances[order].mean()))
    losses = plain_nt_xent(pair, 0.2)
    contrasted = positive_term(pair, PretrainConfig(positive_trim=trim, positive_objective="nt_xent"), 0.3)
    assert float(contrasted) == pytest.approx(sum(losses[i] + losses[i + 5] for i in order) / (2 * kept), rel=1e-6)


@pytest.mark.parametrize(("done", "share"), [(0.0, 1.0), (0.5, 0.5), (0.9999, 0.0)])
def test_a_cosine_takes_lambda_to_0(done, share):
    assert positive_weight(PretrainConfig(positive_weight=0.7), done) == 0.7
    falling = PretrainConfig(positive_weight=0.7, positive_schedule="cosine")
    assert positive_weight(falling, done) == pytest.approx(0.7 * share, abs=1e-6)


@pytest.mark.parametrize(("weight", "share"), [(0.0, 0.0), (0.5, 1 / 3), (1.0, 0.5), (3.0, 0.75)])
def test_lambda_is_the_odds_of_the_second_views_place(weight, share):
    """share : 1 - share = lambda : 1, so the pairs weigh as in L(view, view) + lambda L(view, positive)."""
    assert share_in_place(PretrainConfig(positive_objective="host", positive_weight=weight), 0.3) == pytest.approx(
        share
    )
    falling = PretrainConfig(positive_objective="host", positive_weight=weight, positive_schedule="cosine")
    assert share_in_place(falling, 0.5) == pytest.approx(0.5 * weight / (1 + 0.5 * weight))
    assert share_in_place(PretrainConfig(positive_weight=weight), 0.3) is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--pretrain.positive_trim", "0.1", "--pretrain.positive_objective", "host"), r"trim .* host has none"),
        (("--pretrain.positive_temperature", "0"), r"positive_temperature 0.* above 0"),
        (("--pretrain.positive_trim", "1"), r"positive_trim 1.0 would leave out every pair"),
    ],
)
def test_what_makes_no_sense_is_refused(options, told):
    with pytest.raises(UserError, match=told):
        check_values(parse_recipe("smoke", list(options)))
