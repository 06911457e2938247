"""APS is its card: sparse views that avoid each other, and contrast of predictions with what gets no gradient."""

from __future__ import annotations

import runpy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import clsp
from clsp import files
from clsp.encoders.config import PredictorConfig, ProjectorConfig
from clsp.encoders.tokens import encode_patches
from clsp.engine.hardware import HardwareConfig
from clsp.errors import UserError
from clsp.images.augment import Crops
from clsp.methods.base import Views
from clsp.objectives.alignment import alignment
from clsp.recipes.recipe import load_recipe
from clsp.training.checks import check_backbone
from clsp.training.config import PositiveConfig, PretrainConfig
from clsp.training.pretrain import pretrain
from tiny import Tiny, crops, for_method, vit
from tiny import make as built


def make(mode="joint", encoder=None, **settings):
    torch.manual_seed(0)
    heads = {"projector": ProjectorConfig(hidden=12, dim=8), "predictor": PredictorConfig(hidden=10)}
    return built("aps", encoder or vit(8, patch=2), **heads, batch_norm=mode, **settings)


def views(positive=True, step=3, count=6):
    generator = torch.Generator().manual_seed(step)
    x = [torch.randn(count, 1, 8, 8, generator=generator) for _ in range(3)]
    ids = torch.arange(count) + 10
    return Views(x[0], x[1], x[2] if positive else None, ids, 0.0, None, step, crops(ids, step))


def projected(method, batch):
    patches = method.chosen(batch)
    images = (batch.first, batch.second, batch.positive)
    return [method.network.projector(encode_patches(method.encoder, x, kept)) for x, kept in zip(images, patches)]


def test_the_loss_is_the_plain_cross_entropy_in_both_directions():
    method, batch = make(temperature=0.3).eval(), views()
    z = projected(method, batch)
    p = [method.predictor(x) for x in z]
    expected = 0.0
    for rows, columns in ((p[0], z[1]), (p[1], z[0])):
        for i in range(6):
            cosines = [float(F.cosine_similarity(rows[i], column, dim=0)) / 0.3 for column in columns]
            expected += float(torch.tensor(cosines).logsumexp(0)) / 6 - cosines[i] / 6
    output = method(batch)
    assert list(output.terms) == ["aps"]
    assert float(output.terms["aps"]) == pytest.approx(expected, rel=1e-4)
    for ours, wanted in zip((output.first, output.second, *output.pair), (z[0], z[1], z[0], p[2])):
        torch.testing.assert_close(ours, wanted)


def test_no_gradient_reaches_what_is_predicted():
    """Without the predictor's part of the gradient there would be none at all."""
    method, batch = make().eval(), views()
    output = method(batch)
    assert not output.pair[0].requires_grad
    assert output.pair[1].requires_grad
    z1, z2, _ = projected(method, batch)
    targets = [n.detach() for n in (F.normalize(z1, dim=1), F.normalize(z2, dim=1))]
    p1, p2 = (F.normalize(method.predictor(z), dim=1) for z in (z1, z2))
    labels = torch.arange(6)
    plain = F.cross_entropy(p1 @ targets[1].T / 0.1, labels) + F.cross_entropy(p2 @ targets[0].T / 0.1, labels)
    parameters = list(method.parameters())
    for ours, expected in zip(
        torch.autograd.grad(output.terms["aps"], parameters), torch.autograd.grad(plain, parameters)
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_the_heads_are_three_layers_with_batch_norm_to_the_end():
    method = make()
    for head, widths in ((method.network.projector, [32, 12, 12, 8]), (method.predictor, [8, 10, 10, 8])):
        linear = [layer for layer in head if isinstance(layer, torch.nn.Linear)]
        norms = [layer for layer in head if isinstance(layer, torch.nn.BatchNorm1d)]
        assert [layer.in_features for layer in linear] + [linear[-1].out_features] == widths
        assert [norm.affine for norm in norms] == [True, True, False]


@pytest.mark.parametrize(("ratio", "count"), [(0.25, 4), (0.5, 8), (0.01, 1), (1.0, 16)])
def test_every_view_shows_the_same_share_of_its_patches(ratio, count):
    kept = make(ratio=ratio).chosen(views())
    assert [part.shape for part in kept] == [(6, count)] * 3
    assert all(len(set(row)) == count for part in kept for row in part.tolist())
    assert len({tuple(row) for row in kept[0].tolist()}) == (1 if count == 16 else 6) or count == 1


def test_views_of_the_same_box_show_different_places_unless_the_power_is_0():
    batch = views(count=40)
    left, top, width, height, flip = batch.crops[0]
    mirrored = Crops(left, top, width, height, ~flip)
    batch = replace(batch, crops=(batch.crops[0], batch.crops[0], mirrored))
    first, second, positive = make().chosen(batch)
    turned = positive - positive % 4 + 3 - positive % 4
    for other in (second, turned):  # the additional positive avoids the first view as well
        assert not (first[:, :, None] == other[:, None, :]).any()
    first, second, _ = make(power=0.0).chosen(batch)
    assert (first[:, :, None] == second[:, None, :]).any()


def test_patches_depend_on_seed_step_and_image_alone():
    method, batch = make(), views()
    some = torch.tensor([4, 1])
    part = replace(batch, ids=batch.ids[some], crops=tuple(crop.of(some) for crop in batch.crops))
    for whole, alone in zip(method.chosen(batch), method.chosen(part)):
        assert torch.equal(whole[some], alone)
    assert not torch.equal(method.chosen(batch)[0], method.chosen(replace(batch, step=4))[0])


@pytest.mark.parametrize("mode", ["joint", "split", "views"])
def test_views_share_batch_norm_statistics_as_everywhere(mode):
    method, batch = make(mode).train(), views()
    features = [
        encode_patches(method.encoder, x, kept)
        for x, kept in zip((batch.first, batch.second, batch.positive), method.chosen(batch))
    ]
    groups = {"joint": [[0, 1, 2]], "split": [[0, 1], [2]], "views": [[0], [1], [2]]}[mode]
    expected = [
        part for group in groups for part in method.network.projector(torch.cat([features[n] for n in group])).split(6)
    ]
    output = method(batch)
    for ours, wanted in zip((output.first, output.second, output.pair[0]), (*expected[:2], expected[0])):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alignment(*output.pair), alignment(expected[0], method.predictor(expected[2])))


def test_another_backbone_is_refused_before_anything_is_done(make_images):
    with pytest.raises(UserError, match=r"backbone\.name Tiny has no patches"):
        make(encoder=Tiny())
    with pytest.raises(UserError, match=r"backbone\.name resnet18 has no patches to choose from.*vit_tiny"):
        check_backbone(PretrainConfig(method="aps"), make_images())


@pytest.mark.parametrize(("name", "value"), [("ratio", 0), ("ratio", 1.5), ("power", -1), ("temperature", 0)])
def test_wrong_values_are_refused(name, value):
    with pytest.raises(UserError, match=rf"--pretrain.aps.{name}"):
        load_recipe(None, {"pretrain": {"aps": {name: value}}})


def test_it_trains_an_encoder_that_others_load(tmp_path, make_images, tiny_pretrain):
    out = tmp_path / "encoder"
    config = tiny_pretrain(**for_method("aps", positive=PositiveConfig(source="view"), epochs=1))
    pretrain(make_images(channels=1), config, HardwareConfig(accelerator="cpu"), seed=0, folder=out)
    assert {"aps", "positive", "loss"} <= set(files.read_jsonl(out / "metrics.jsonl")[-1])
    encoder = clsp.load_encoder(out)
    names = runpy.run_path(str(out / "snippet.py"))
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(names["model"](x), encoder(x))
    assert set(load_file(out / "encoder.safetensors")) == set(encoder.state_dict())
