"""Images with text: captions and tokens, what a step minimises, recall and zero-shot, and the whole commands."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from clsp import files
from clsp.cli.main import dispatch
from clsp.engine.pixels import Pixels
from clsp.errors import UserError
from clsp.images.sources import open_images
from clsp.objectives.progressive import progressive_clip
from clsp.positives.positive import Positive
from clsp.tasks.text.captions import captions_of, sentences
from clsp.tasks.text.config import ProgressiveConfig, TextConfig, TowerConfig
from clsp.tasks.text.measure import ranks, recalls
from clsp.tasks.text.model import load_pairing
from clsp.tasks.text.tower import Pairing, Tower
from clsp.tasks.text.training import Captioning
from clsp.tasks.text.words import learnt, tokens
from clsp.tasks.views import Drawing
from tiny import images_of, plain_spec

pytest.importorskip("tokenizers")
TOWER = TowerConfig(width=16, layers=1, heads=2, length=8)
SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}


def test_captions_come_from_the_column_else_from_the_class_names():
    images = images_of(9, 6)
    made = captions_of(images, TextConfig(templates=["a {}", "the {}"]), seed=0)
    assert made.made and len(made.ids) == 9
    assert all(text.split()[1] == "abc"[label] for text, label in zip(made.train, images.train.labels, strict=True))
    assert {text.split()[0] for text in made.train + made.test} == {"a", "the"}
    images.train.__dict__["columns"] = {"caption": [f"image {n}" if n != 4 else " " for n in range(9)]}
    images.test.__dict__["columns"] = {"caption": [f"test {n}" for n in range(6)]}
    found = captions_of(images, TextConfig(), seed=0)
    assert not found.made and found.ids.tolist() == [0, 1, 2, 3, 5, 6, 7, 8] and found.train[4] == "image 5"
    assert found.test == [f"test {n}" for n in range(6)]


def test_a_test_part_without_captions_is_no_reason_to_refuse_and_gets_none_made():
    images = images_of(9, 6)
    images.train.__dict__["columns"] = {"caption": [f"image {n}" for n in range(9)]}
    found = captions_of(images, TextConfig(), seed=0)
    assert not found.made and not found.test  # its classes' names are no captions that somebody wrote
    images.test.__dict__["labels"] = None
    assert not captions_of(images, TextConfig(), seed=0).test


@pytest.mark.parametrize("templates", [["{} or {}"], ["{} {x}"]])
def test_whatever_else_a_template_holds_stays(templates):
    images = images_of(6, None)
    made = captions_of(images, TextConfig(templates=templates), seed=0).train
    assert made[0] == templates[0].replace("{}", "a")


def test_no_template_at_all_is_one_line():
    with pytest.raises(UserError, match="templates"):
        captions_of(images_of(6, None), TextConfig(templates=[]), seed=0)


def test_exchanged_captions_are_another_image_s_and_nobody_loses_one():
    images = images_of(600, 6)
    images.train.__dict__["columns"] = {"caption": [f"image {n}" for n in range(600)]}
    plain = captions_of(images, TextConfig(), seed=0).train
    mixed = captions_of(images, TextConfig(shuffled=0.3), seed=0).train
    moved = [a != b for a, b in zip(plain, mixed, strict=True)]
    assert sorted(plain) == sorted(mixed) and abs(np.mean(moved) - 0.3) < 0.08


def test_a_template_without_a_place_and_data_without_captions_are_refused():
    with pytest.raises(UserError, match="templates"):
        sentences(["cat"], ["a cat"])
    bare = images_of(6, None)
    bare.train.__dict__["labels"] = None
    with pytest.raises(UserError, match="no captions"):
        captions_of(bare, TextConfig(), seed=0)


def test_tokens_begin_end_and_are_padded():
    tokenizer = learnt(["a black cat", "a white dog", "a cat and a dog"] * 5, TowerConfig(vocabulary=400))
    found = tokens(tokenizer, ["a cat", "a black cat and a white dog and a cat", ""], 8)
    start, end = tokenizer.token_to_id("[START]"), tokenizer.token_to_id("[END]")
    assert (found[:, 0] == start).all() and found.shape == (3, 8)
    assert ((found == end).sum(dim=1) == 1).all()
    assert found[0, 4:].eq(0).all() and found[2].tolist()[:2] == [start, end]
    ids = found[0][(found[0] != 0)][1:-1].tolist()
    assert tokenizer.decode(ids).strip() == "a cat"


def test_a_caption_s_features_do_not_depend_on_its_padding():
    torch.manual_seed(0)
    tower = Tower(50, TOWER).eval()
    short, long = torch.tensor([[1, 5, 6, 2]]), torch.tensor([[1, 5, 6, 2, 0, 0, 0, 0]])
    torch.testing.assert_close(tower(short), tower(long))


class Flat(nn.Module):
    num_features = 12

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 12)

    def forward(self, x):
        return self.layer(x.flatten(1))


def training(candidates=None, **changes):
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), dtype=np.uint8)
    config = TextConfig(**{"batch_size": 12, "epochs": 5, "tower": TOWER, "dim": 6, **changes})
    pairing = Pairing(Flat(), Tower(50, TOWER), 6)
    written = torch.randint(3, 50, (24, 8), generator=torch.Generator().manual_seed(1))
    drawing, ids = Drawing(plain_spec(), config.augment, seed=0), np.arange(24)
    made = Captioning(pairing, config, drawing, Pixels(images), written, ids, candidates=candidates)
    made.to_device(torch.device("cpu"))
    return made


def embedded(made, number, flip=False):
    positions = made.batches.positions(number)
    pixels = made.pixels[positions]
    images = made.drawing(pixels.flip(-1) if flip else pixels, made.ids[positions], number, int(flip))
    return made.pairing.images(images), made.pairing.texts(made.tokens[positions])


def test_a_step_without_soft_targets_is_clip_to_the_bit():
    plain = training()
    v, t = embedded(plain, 3)
    assert torch.equal(plain.step(3).loss, progressive_clip(v, t, plain.pairing.scale))
    progressive = training(progressive=ProgressiveConfig(first=0.0, last=0.6))
    assert torch.equal(progressive.step(0).loss, training().step(0).loss)  # alpha begins at 0
    assert progressive.step(9).loss != training().step(9).loss


def test_the_share_grows_evenly_and_so_many_rows_are_soft():
    made = training(progressive=ProgressiveConfig(first=0.2, last=0.8))
    assert [round(made.share(number), 2) for number in (0, 5, 10)] == [0.2, 0.5, 0.8]
    v, t = embedded(made, 5)
    soft = made.soft(v, t, torch.arange(12), 5)
    assert int(soft.sum()) == 6
    v, t = v.detach(), t.detach()
    expected = progressive_clip(v, t, made.pairing.scale, soft=made.soft(v, t, made.ids[made.batches.positions(5)], 5))
    torch.testing.assert_close(made.step(5).loss, expected)


def test_rows_by_score_are_those_whose_pair_is_least_alike():
    made = training(progressive=ProgressiveConfig(first=0.25, last=0.25, partition="score"))
    v, t = embedded(made, 1)
    soft = made.soft(v, t, torch.arange(12), 1)
    cosines = F.cosine_similarity(v, t, dim=1)
    assert int(soft.sum()) == 3 and cosines[soft].max() < cosines[~soft].min()


def test_candidates_are_paired_with_the_caption_of_their_anchor():
    made = training(lambda device: lambda positions, anchors, step: Positive(anchors.flip(-1)), positive_weight=0.5)
    (v, t), (w, _) = embedded(made, 2), embedded(made, 2, flip=True)
    terms = made.step(2).terms
    torch.testing.assert_close(terms["contrast"], progressive_clip(v, t, made.pairing.scale))
    torch.testing.assert_close(terms["positive"], 0.5 * progressive_clip(w, t, made.pairing.scale))


def test_ranks_count_what_is_more_alike_and_equal_captions_are_one(monkeypatch):
    similar, own = torch.tensor([[0.5, 0.9, 0.1], [0.2, 0.8, 0.3], [0.9, 0.3, 0.4]]), torch.eye(3)
    assert ranks(similar, own, np.array([0, 1, 2])).tolist() == [1, 0, 1]
    assert ranks(similar, own, np.array([0, 0, 1])).tolist() == [0, 0, 1]
    assert ranks(torch.ones(3, 3), own, np.array([0, 1, 2])).tolist() == [
        2,
        2,
        2,
    ]  # nothing is told apart: nothing found
    monkeypatch.setattr("clsp.tasks.text.measure._ROWS", 4)  # row by row
    assert ranks(similar, own, np.array([0, 1, 2])).tolist() == [1, 0, 1]
    measures = recalls(torch.eye(3), torch.eye(3), ["a", "b", "c"], protocol="x")
    assert [one.value for one in measures] == [100, 100]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Squares and bars in three colours, each with its caption in a file beside it."""
    place, rng = tmp_path_factory.mktemp("captioned"), np.random.default_rng(0)
    for number in range(180):
        shape, colour = number % 2, number // 2 % 3
        image = np.full((16, 16, 3), 30, np.uint8) + rng.integers(0, 30, (16, 16, 3), dtype=np.uint8)
        x, y = rng.integers(2, 7, 2)
        image[y : y + 6, x : x + 6 if shape else x + 2, colour] = 230
        name = f"{'test' if number >= 132 else 'train'}/{number:03d}"
        (place / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{name}.png")
        caption = f"a {['red', 'green', 'blue'][colour]} {['bar', 'square'][shape]}"
        (place / f"{name}.txt").write_text(caption)
    return place


def test_captions_beside_the_images_are_learnt_and_name_classes(folder, tmp_path, capsys):
    out, table = tmp_path / "out", tmp_path / "labels.csv"
    options = ["--epochs", "25", "--batch_size", "32", "--lr", "0.003", "--augment.flip", "0", "--tower.layers", "1"]
    assert dispatch(["text", "--data", str(folder), "--out", str(out), *options]) == 0
    found = files.read_json(out / "metrics.json")
    assert found["captions"].endswith("beside the images") and found["pairs"] == 132
    assert found["image_to_text"]["recall"] > 60 and found["text_to_image"]["recall@5"] > 60
    assert "What captions find" in (out / "report.html").read_text()
    classes = "a red square,a green square,a blue square,a red bar,a green bar,a blue bar"
    words = ["--model", str(out), "--data", str(folder), "--classes", classes, "--out", str(table)]
    assert dispatch(["zeroshot", *words]) == 0
    rows = list(csv.DictReader(table.open()))
    right = [(folder / row["name"]).with_suffix(".txt").read_text() == row["label"] for row in rows]
    assert len(rows) == 180 and np.mean(right) > 0.5
    saved, templates = load_pairing(out)
    assert "{}" in templates[0] and saved.embed_texts(["a red bar"]).shape == (1, 128)
    assert dispatch(["verify", str(out)]) == 0
    capsys.readouterr()


def test_captions_are_made_from_the_classes_where_that_is_asked_for(folder, tmp_path):
    labelled = tmp_path / "labelled"
    for number, name in enumerate(sorted(folder.rglob("*.png"))[:40]):
        place = labelled / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        for file in (name, name.with_suffix(".txt")):
            shutil.copy(file, place)
    images = open_images(str(labelled))
    written, made = (captions_of(images, TextConfig(column=column), seed=0) for column in ("caption", "label"))
    assert "beside" in written.note and not written.made and {"a red bar", "a green bar"} & set(written.train)
    assert made.made and all(text.endswith(("cat", "dog")) for text in made.train)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text", "--data", "digits", "--out", "x", "--images.labels", "none"], "no captions"),
        (["text", "--data", "digits", "--out", "x", "--column", "titel"], "no column 'titel'"),
        (["text", "--data", "digits", "--out", "x", "--templates", "[a cat]"], "{}"),
        (["text", "--data", "digits", "--out", "x", "--tower.heads", "3"], "must divide"),
        (["text", "--data", "digits", "--out", "x", "--progressive.last", "2"], "at most 1"),
        (["zeroshot", "--model", "nowhere", "--data", "digits", "--classes", "a,b", "--out", "x.csv"], "safetensors"),
        (["zeroshot", "--model", "nowhere", "--data", "digits", "--classes", "a", "--out", "x.csv"], "two or more"),
        (["zeroshot", "--model", "nowhere", "--data", "digits", "--classes", "a,b", "--out", "x.txt"], ".csv"),
    ],
)
def test_a_mistake_ends_in_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert dispatch(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("clsp: error") and said in last
