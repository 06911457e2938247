"""The term of the additional positive."""

from __future__ import annotations

import pytest
import torch

from clsp.errors import UserError
from clsp.objectives.alignment import alignment
from clsp.recipes.limits import check_values
from clsp.recipes.options import parse_recipe
from clsp.training.config import PretrainConfig
from clsp.training.positive_term import positive_term, positive_weight


@pytest.fixture
def pair():
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, generator=drawn, dtype=torch.float64), torch.randn(
        5, 3, generator=drawn, dtype=torch.float64
    )


def test_the_papers_term_is_the_default(pair):
    assert float(positive_term(pair, PretrainConfig(), 0.3)) == pytest.approx(float(alignment(*pair)))
    half = PretrainConfig(positive_weight=0.5, positive_trim=0.4)
    assert float(positive_term(pair, half, 0.3)) == pytest.approx(0.5 * float(alignment(*pair, trim=0.4)))


def test_nt_xent_is_the_formula_written_plainly(pair):
    config = PretrainConfig(positive_objective="nt_xent", positive_temperature=0.4, positive_weight=2.0)
    z = torch.cat(pair)
    z = z / z.norm(dim=1, keepdim=True)
    losses = []
    for i in range(10):
        scores = [float(z[i] @ z[j]) / 0.4 for j in range(10)]
        others = torch.tensor([scores[j] for j in range(10) if j != i])
        losses.append(float(torch.logsumexp(others, 0)) - scores[(i + 5) % 10])
    assert float(positive_term(pair, config, 0.3)) == pytest.approx(2.0 * sum(losses) / 10, rel=1e-6)


@pytest.mark.parametrize(("done", "share"), [(0.0, 1.0), (0.5, 0.5), (0.9999, 0.0)])
def test_a_cosine_takes_lambda_to_0(done, share):
    assert positive_weight(PretrainConfig(positive_weight=0.7), done) == 0.7
    falling = PretrainConfig(positive_weight=0.7, positive_schedule="cosine")
    assert positive_weight(falling, done) == pytest.approx(0.7 * share, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--pretrain.positive_temperature", "0"), r"positive_temperature 0.* above 0"),
        (("--pretrain.positive_objective", "nt_xent", "--pretrain.positive_trim", "0.1"), r"with nt_xent it must be 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, told):
    with pytest.raises(UserError, match=told):
        check_values(parse_recipe("smoke", list(options)))
