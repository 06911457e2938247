"""The training for dense correspondence, the rows that it is compared with, and the whole commands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits

import clsp
from clsp import files
from clsp.cli.main import dispatch
from clsp.diffusion.training import train_diffusion
from clsp.diffusion.unet import Grid
from clsp.encoders.backbone import build_backbone
from clsp.engine.hardware import HardwareConfig
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.objectives.nt_xent import nt_xent
from clsp.positives.bank import PositiveBank
from clsp.positives.named import Named
from clsp.tasks.correspondence.config import CycleConfig, DenseConfig, DenseRecipe, MeasureConfig
from clsp.tasks.correspondence.features import maps_and_features
from clsp.tasks.correspondence.measure import on_warps
from clsp.tasks.correspondence.stage import _nearest, _same_class, make_dense, nearest_others
from clsp.tasks.correspondence.training import Corresponding
from clsp.tasks.job import Job
from clsp.tasks.views import Drawing
from tiny import images_of, plain_spec, vit

TINY = {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 16]}
CPU = HardwareConfig(accelerator="cpu")


def training(other=None, cycle=None, **changes):
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 16, 16), dtype=np.uint8)
    config = DenseConfig(**{"batch_size": 6, "epochs": 4, "cycle": CycleConfig(**(cycle or {})), **changes})
    encoder = build_backbone("resnet18", TINY, channels=1, size=16, stem="small").train()
    drawing = Drawing(plain_spec(), config.augment, seed=0)
    made = Corresponding(encoder, config, drawing, Pixels(images), np.arange(12), other=other)
    made.to_device(torch.device("cpu"))
    return made


def test_without_the_cycle_a_step_is_the_contrast_of_two_views():
    made = training(cycle={"weight": 0.0})
    positions = made.batches.positions(1)
    views = torch.cat([made.drawing(made.pixels[positions], made.ids[positions], 1, view) for view in (0, 1)])
    first, second = made.projector(maps_and_features(made.encoder, views, -2)[1]).chunk(2)
    assert made.step(1).terms.keys() == {"contrast"}
    torch.testing.assert_close(made.step(1).loss, nt_xent(first, second, 0.2))


def test_the_cycle_moves_the_encoder_and_is_weighed():
    one, two = (training(cycle={"weight": weight, "other": "view"}) for weight in (1.0, 3.0))
    terms = [made.step(0).terms["cycle"] for made in (one, two)]
    torch.testing.assert_close(terms[1], 3 * terms[0])
    terms[0].backward()
    assert one.encoder.conv1.weight.grad.abs().sum() > 0
    assert one.projector.weight.grad is None


def test_a_network_that_knows_places_has_no_cycle_to_mend(monkeypatch):
    """Features that are their own places, of an image and itself: every way ends where it should."""
    images = torch.stack([torch.linspace(-1, 1, 32)] * 32)[None, None].repeat(4, 1, 1, 1)
    images = torch.cat((images, images.transpose(2, 3)), dim=1)

    def places(encoder, pictures, layer):
        small = torch.nn.functional.interpolate(pictures, scale_factor=0.5, mode="area")
        angle = small * 1.5
        return torch.cat((angle.cos(), angle.sin()), dim=1), pictures.mean(dim=(2, 3))

    monkeypatch.setattr("clsp.tasks.correspondence.training.maps_and_features", places)
    made = training(cycle={"temperature": 0.0005, "other": "view", "degrees": 0.0})
    monkeypatch.setattr(made.drawing, "normalised", lambda x: images)
    monkeypatch.setattr(made.drawing, "forward", lambda *given: images)
    made.pixels = Pixels(np.zeros((4, 2, 32, 32), np.uint8))
    here = torch.arange(4)
    loss = made._cycle(here, torch.zeros(4, 2, 32, 32, dtype=torch.uint8), here, 0)
    assert float(loss) < (2 / 16) ** 2  # less than a cell


def test_partners_are_of_the_same_label_or_the_nearest():
    images = images_of(30, None, channels=1, size=8)
    pixels, device = Pixels(images.train.images).to(torch.device("cpu")), torch.device("cpu")
    drawn = _same_class(pixels, images.train.labels, 0, device)
    first = {bytes(image): label for image, label in zip(images.train.images, images.train.labels, strict=True)}
    for step in range(3):
        got = drawn(torch.arange(30), step).numpy()
        assert [first[bytes(image)] for image in got] == images.train.labels.tolist()
    bare = np.where(np.arange(30) < 5, images.train.labels, -1)
    own = _same_class(pixels, bare, 0, device)(torch.arange(5, 30), 0).numpy()
    assert (own == images.train.images[5:]).all()  # who has no label finds itself
    nearest = _nearest(pixels, torch.arange(30).flip(0), device)
    assert (nearest(torch.arange(3), 0).numpy() == images.train.images[[29, 28, 27]]).all()
    assert nearest_others(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.0, 1.0]])).tolist() == [1, 0, 3, 2]


def test_a_transformer_has_maps_too_and_a_layer_that_is_not_there_is_refused():
    maps, features = maps_and_features(vit(16, patch=4), torch.zeros(2, 1, 16, 16), -1)
    assert maps.shape == (2, 32, 4, 4) and features.shape == (2, 32)
    with pytest.raises(UserError, match=r"dense\.layer"):
        maps_and_features(vit(16, patch=4), torch.zeros(2, 1, 16, 16), -9)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images, a diffusion model and a bank of them."""
    from clsp.positives.config import SynthesizeConfig
    from clsp.positives.synthesize import synthesize
    from tiny import diffusion_config

    folder, images = tmp_path_factory.mktemp("dense"), images_of(24, 12, channels=1, size=16)
    train_diffusion(images, diffusion_config(), CPU, seed=0, folder=folder / "diffusion")
    config = SynthesizeConfig(candidates=1, steps=10, precision="32", gate="off")
    bank = synthesize(images, folder / "diffusion", config, CPU, seed=0, folder=folder / "bank")
    return images, folder / "diffusion", bank


def job(images, config, folder, bank=None, **more):
    return Job(
        images, DenseRecipe(dense=config, hardware=CPU), folder, positives=bank and Named("bank", bank), more=more
    )


QUICK = {"batch_size": 8, "epochs": 2, "measure": {"pairs": 6, "time": 10}, "checkpoint_minutes": 0,
         "backbone": {"args": TINY}}  # fmt: skip


@pytest.mark.parametrize("other", ["nearest", "class", "candidate", "view"])
def test_every_other_image_serves_and_the_diffusion_model_is_a_row(made, tmp_path, other):
    images, diffusion, bank = made
    assert isinstance(bank, PositiveBank)
    config = DenseConfig(**{**QUICK, "cycle": {"other": other}})
    bank = bank if other == "candidate" else None
    make_dense(job(images, config, tmp_path, bank, diffusion=str(diffusion)))
    found = files.read_json(tmp_path / "measures" / "metrics.json")["warps"]
    assert found.keys() == {"same place", "random", "trained", "diffusion"}
    assert all(0 <= value <= 100 for row in found.values() for value in row.values())


@pytest.mark.parametrize(
    ("cycle", "bank", "said"),
    [({"other": "candidate"}, False, "--positives"), ({"other": "view"}, True, "candidate alone")],
)
def test_settings_that_do_not_go_together_are_refused(made, tmp_path, cycle, bank, said):
    images, _, drawn = made
    with pytest.raises(UserError, match=said):
        make_dense(job(images, DenseConfig(**{**QUICK, "cycle": cycle}), tmp_path, drawn if bank else None))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    data = load_digits()
    for number, (image, label) in enumerate(zip(data.images[:80], data.target, strict=False)):
        path = place / ("test" if number % 4 == 3 else "train") / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).resize((16, 16)).save(path)
    return place


def test_the_commands_train_measure_and_draw(digits, tmp_path, capsys):
    spair = tmp_path / "spair"
    files.make_folder(spair / "PairAnnotation" / "test")
    files.make_folder(spair / "JPEGImages" / "cat")
    one, two = sorted((digits / "train" / "3").iterdir())[:2]
    for path, name in ((one, "a.png"), (two, "b.png")):
        (spair / "JPEGImages" / "cat" / name).write_bytes(path.read_bytes())
    pair = {
        "src_imname": "a.png", "trg_imname": "b.png", "category": "cat", "src_kps": [[1, 2], [9, 4]],
        "trg_kps": [[5, 6], [7, 8]], "trg_bndbox": [1, 2, 14, 14],
    }  # fmt: skip
    files.write_json(spair / "PairAnnotation" / "test" / "1.json", pair)
    out, drawn = tmp_path / "out", tmp_path / "m.png"
    options = ["--epochs", "1", "--pairs", str(spair), "--batch_size", "8", "--backbone.args", str(TINY)]
    assert dispatch(["dense", "--data", str(digits), "--out", str(out), *options]) == 0
    found = files.read_json(out / "measures" / "metrics.json")
    assert found["pairs"]["trained"].keys() == {"pck@0.05", "pck@0.1", "pck@0.15"}
    page = (out / "report.html").read_text()
    assert "1 pairs of spair" in page and "random weights" in page
    assert dispatch(["correspond", str(one), str(two), "--encoder", str(out), "--out", str(drawn)]) == 0
    assert Image.open(drawn).size == (816, 416)
    assert dispatch(["verify", str(out)]) == 0
    time = (out / "encoder.safetensors").stat().st_mtime_ns
    assert clsp.dense(digits, out, settings={**_settings(), "dense.measure.points": 4}) == out  # measured anew
    assert (out / "encoder.safetensors").stat().st_mtime_ns == time
    assert "pairs" not in files.read_json(out / "measures" / "metrics.json")
    assert "pck@0.1" in capsys.readouterr().out


def _settings():
    return {"dense.epochs": 1, "dense.batch_size": 8, "dense.backbone.args": TINY}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["correspond", "a.png", "--encoder", "x", "--out", "m.png"], "two images"),
        (["correspond", "a.png", "b.png", "--encoder", "x", "--out", "m.jpg"], ".png"),
        (["correspond", "a.png", "b.png", "--encoder", "x", "--out", "m.png"], "config.json"),
        (["correspond", "a.png", "b.png", "--encoder", "x", "--out", "m.png", "--layer", "2"], "below 0"),
        (["dense", "--data", "digits", "--out", "x", "--cycle.other", "friend"], "one of"),
        (["dense", "--data", "digits", "--out", "x", "--layer", "0"], "below 0"),
        (["dense", "--data", "digits", "--out", "x", "--pairs", "nowhere"], "SPair-71k"),
        (["dense", "--data", "digits", "--out", "x", "--diffusion", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_ends_in_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert dispatch(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("clsp: error") and said in last
    assert not (tmp_path / "x" / "encoder.safetensors").exists()  # it is said before the training


def test_a_map_of_padded_images_is_read_in_the_frame_of_the_images():
    """A point is found where it is: a feature that says its own place, from images of 28 padded to 32."""
    grid = Grid(levels=4)
    images = torch.zeros(1, 1, 28, 28)
    images[..., :] = torch.linspace(-1 + 1 / 28, 1 - 1 / 28, 28)  # the place of each column, from -1 to 1
    entered = grid.enter(images)
    assert entered.shape[-2:] == (32, 32)
    coarse = F.avg_pool2d(entered, 4)
    inside = grid.inside(coarse, (28, 28))
    places = torch.linspace(-1 + 1 / 8, 1 - 1 / 8, 8)
    assert inside.shape == coarse.shape
    assert (inside[0, 0, 4] - places).abs()[1:-1].max() < 0.01 < (coarse[0, 0, 4] - places).abs()[1:-1].max()
    assert torch.equal(grid.inside(coarse, (32, 32)), coarse)


def test_points_are_measured_on_images_of_all_classes():
    """The first of a folder would be of one class."""
    seen = []
    images = np.repeat(np.arange(100, dtype=np.uint8), 8 * 8 * 1).reshape(100, 1, 8, 8)
    finder = lambda image: seen.append(image) or torch.zeros(1, 2, 2, 2)  # noqa: E731
    on_warps({"any": finder}, images, MeasureConfig(pairs=20, points=2), seed=0)
    real = {round(float(image.max()) * 255) for image in seen}
    assert min(real) < 30 and max(real) > 70
