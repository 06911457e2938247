"""Where the additional positive stands: the third view's term, and the second view's place."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from clsp.errors import UserError
from clsp.methods import METHODS
from clsp.objectives.alignment import Alignment, alignment
from clsp.objectives.nt_xent import NTXent
from clsp.objectives.paired_nce import PairedNCE
from clsp.positives.placement import Host, Third, closest_pairs, in_place, no_negatives, scheduled
from clsp.positives.source import Positive
from clsp.positives.sources import SOURCES
from clsp.recipes.recipe import load_recipe
from clsp.training.checks import check_together
from clsp.training.config import PositiveConfig
from tiny import for_method


@pytest.fixture
def pair():
    drawn = torch.Generator().manual_seed(0)
    return tuple(torch.randn(5, 3, generator=drawn, dtype=torch.float64) for _ in range(2))


def test_the_papers_term_is_the_default(pair):
    chosen = PositiveConfig()
    assert float(chosen.third.term(pair, chosen.pull, 0.3)) == pytest.approx(float(alignment(*pair)))
    assert float(Third(weight=0.5).term(pair, Alignment(), 0.3)) == float(0.5 * alignment(*pair))


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
    expected = 2.0 * sum(plain_nt_xent(pair, 0.4)) / 10
    assert float(Third(weight=2.0).term(pair, NTXent(temperature=0.4), 0.3)) == pytest.approx(expected, rel=1e-6)


def test_paired_nce_pulls_each_anchor_to_its_positive_and_from_the_other_positives_alone(pair):
    anchors, positives = (x / x.norm(dim=1, keepdim=True) for x in pair)
    weights, ignore = torch.tensor([1.0, 0.5, 0.0, 1.0, 0.25]).double(), torch.zeros(5, 5, dtype=torch.bool)
    ignore[0, 3] = ignore[4, 1] = True
    expected = 0.0
    for i in range(5):
        scores = {j: float(anchors[i] @ positives[j]) / 0.3 for j in range(5) if not ignore[i, j]}
        loss = float(torch.tensor(list(scores.values())).logsumexp(0)) - scores[i]
        expected += 0.7 * float(weights[i]) * loss / 5
    term = Third(weight=0.7).term(pair, PairedNCE(temperature=0.3), 0.3, weights=weights, ignore=ignore)
    assert float(term) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("trim", "kept"), [(0.1, 5), (0.2, 4), (0.4, 3), (0.5, 3), (0.8, 1)])
def test_trimming_leaves_out_the_pairs_that_lie_farthest_apart(pair, trim, kept):
    """The mean is over the pairs that are kept; those left out stay among the negatives of NT-Xent."""
    distances = 2.0 - 2.0 * torch.cosine_similarity(*pair, dim=1)
    order = distances.argsort()[:kept].tolist()
    third = Third(trim=trim)
    assert float(third.term(pair, Alignment(), 0.3)) == pytest.approx(float(distances[order].mean()))
    losses = plain_nt_xent(pair, 0.2)
    contrasted = third.term(pair, NTXent(), 0.3)
    assert float(contrasted) == pytest.approx(sum(losses[i] + losses[i + 5] for i in order) / (2 * kept), rel=1e-6)
    weights = torch.rand(5, dtype=torch.float64)
    weighed = third.term(pair, Alignment(), 0.3, weights=weights)
    assert float(weighed) == pytest.approx(float((weights * distances)[order].sum() / kept))
    assert sorted(closest_pairs(*pair, 1.0 - trim).nonzero()[:, 0].tolist()) == sorted(order)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 1.0), (0.5, 0.5), (0.9999, 0.0)])
def test_a_cosine_takes_lambda_to_0(pair, progress, share):
    assert scheduled(0.7, "constant", progress) == 0.7
    assert scheduled(0.7, "cosine", progress) == pytest.approx(0.7 * share, abs=1e-6)
    falling, constant = (
        float(Third(weight=0.7, schedule=schedule).term(pair, Alignment(), progress))
        for schedule in ("cosine", "constant")
    )
    assert falling == pytest.approx(share * constant, abs=1e-6)


@pytest.mark.parametrize(("odds", "share"), [(0.0, 0.0), (0.5, 1 / 3), (1.0, 0.5), (3.0, 0.75)])
def test_the_odds_of_the_second_views_place(odds, share):
    """share : 1 - share = r : 1, so the pairs weigh as in L(view, view) + r L(view, positive)."""
    assert Host(odds=odds).fraction(0.3) == pytest.approx(share)
    falling = Host(odds=odds, schedule="cosine")
    assert falling.fraction(0.5) == pytest.approx(0.5 * odds / (1 + 0.5 * odds))


def positives(weights, ids):
    images = torch.full((len(ids), 1, 2, 2), 200, dtype=torch.uint8)
    return Positive(images, weights=weights, ids=ids + 1000)


def placed(host, weights, step, count=400):
    ids = torch.arange(count) + 7
    anchors = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    found = host.place(positives(weights, ids), anchors, ids, 0.0, seed=0, step=step)
    shown = (found.images == 200).flatten(1).all(dim=1)
    assert torch.equal(~shown, (found.images == 0).flatten(1).all(dim=1))
    assert torch.equal(found.ids, torch.where(shown, ids + 1000, ids))  # who keeps its own view is shown itself
    return found, shown


def test_a_weight_is_a_factor_of_the_chance_to_stand_there():
    weights = torch.cat((torch.zeros(100), torch.full((200,), 0.5), torch.ones(100)))
    counts = torch.zeros(400)
    for step in range(60):
        found, shown = placed(Host(odds=3.0), weights, step)
        assert found.weights is None  # it has had its say
        counts += shown
    shares = [float(part.mean()) / 60 for part in counts.split([100, 200, 100])]
    assert shares[0] == 0.0
    assert shares[1:] == pytest.approx([0.375, 0.75], abs=0.02)


def test_or_it_is_a_factor_of_the_pairs_loss_and_the_chance_is_everyones():
    weights = torch.linspace(0.0, 1.0, 400)
    total = 0.0
    for step in range(60):
        found, shown = placed(Host(odds=3.0, weigh="loss"), weights, step)
        assert torch.equal(found.weights, torch.where(shown, weights, torch.ones(400)))
        total += float(shown.float().mean()) / 60
    assert total == pytest.approx(0.75, abs=0.015)
    unweighted, _ = placed(Host(weigh="loss"), None, 0)
    assert unweighted.weights is None


def test_who_stands_there_is_named_by_seed_step_and_image_alone():
    ids = torch.arange(50)
    chosen = in_place(ids, 0.5, seed=0, step=3)
    assert torch.equal(in_place(ids.flip(0), 0.5, seed=0, step=3), chosen.flip(0))
    assert not torch.equal(in_place(ids, 0.5, seed=1, step=3), chosen)
    assert not torch.equal(in_place(ids, 0.5, seed=0, step=4), chosen)


def test_an_image_that_is_a_positive_is_no_negative_of_its_anchor_in_that_step():
    ids, shown = torch.tensor([7, 3, 9, 4]), torch.tensor([9, 3, 1, 7])
    assert no_negatives(ids, shown).tolist() == [
        [False, False, True, True],  # 7 is shown 9, and 4 is shown 7
        [False, True, False, False],  # 3 is shown itself
        [True, False, False, False],
        [True, False, False, False],
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"third": {"trim": 1}}, r"positive\.third\.trim 1 must be below 1"),
        ({"third": {"weight": -1}}, r"positive\.third\.weight -1 must be at least 0"),
        ({"host": {"odds": -0.5}}, r"positive\.host\.odds -0.5 must be at least 0"),
        ({"nt_xent": {"temperature": 0}}, r"positive\.nt_xent\.temperature 0 must be above 0"),
        ({"frames": {"window": -1}}, r"positive\.frames\.window -1 must be at least 0"),
        ({"nearest": {"neighbours": 0}}, r"positive\.nearest\.neighbours 0 must be at least 1"),
        ({"neighbour": {"memory": 0}}, r"positive\.neighbour\.memory 0 must be at least 1"),
        ({"host": {"trim": 0.1}}, r"positive\.host\.trim"),
    ],
)
def test_what_makes_no_sense_is_refused(options, told):
    with pytest.raises(UserError, match=told) as refused:
        load_recipe("smoke", {"pretrain": {"positive": options}})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("source", SOURCES.names())
def test_what_cannot_stand_in_the_second_views_place_is_refused_in_one_line(make_images, tiny_pretrain, method, source):
    kind, images = SOURCES[source], make_images()
    free = kind.one_anchor and (kind.level == "image" or METHODS[method].takes_neighbours)
    for weigh in ("chance", "loss"):
        chosen = PositiveConfig(source=source, placement="host", host=Host(weigh=weigh))
        config = tiny_pretrain(**for_method(method, positive=chosen))
        if free and (weigh == "chance" or METHODS[method].weighs_pairs):
            check_together(config, images)
            continue
        with pytest.raises(UserError, match=r"placement third|host\.weigh chance") as refused:
            check_together(config, images)
        assert "\n" not in str(refused.value)
        check_together(replace(config, positive=replace(chosen, placement="third")), images)


def test_labels_are_asked_for_before_anything_is_done(make_images, tiny_pretrain):
    images = make_images()
    bare = replace(images, train=replace(images.train, labels=None))
    with pytest.raises(UserError, match="positives 'class' need labels"):
        check_together(tiny_pretrain(positive=PositiveConfig(source="class")), bare)


def test_nt_xent_heeds_who_is_no_negative(pair):
    """Written plainly: an image without its positives of this step among the negatives."""
    ignore = no_negatives(torch.tensor([7, 3, 9, 4, 5]), torch.tensor([9, 3, 1, 7, 5]))
    z = F.normalize(torch.cat(pair), dim=1)
    total = 0.0
    for i in range(10):
        partner = (i + 5) % 10
        kept = [j for j in range(10) if j == partner or (j != i and not ignore[i % 5, j % 5])]
        total += float(torch.logsumexp(z[i] @ z[kept].T / 0.2, 0) - z[i] @ z[partner] / 0.2) / 10
    assert float(Third().term(pair, NTXent(), 0.3, ignore=ignore)) == pytest.approx(total, rel=1e-6)
