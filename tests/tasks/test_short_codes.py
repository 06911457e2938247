"""Search by short codes: the quantiser, what a step minimises, the index as files, and the whole commands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from torch import nn

import clsp
from clsp import files
from clsp.cli.main import dispatch
from clsp.encoders.export import read_spec
from clsp.engine.pixels import Pixels
from clsp.objectives.clipped import clipped_nt_xent
from clsp.positives.positive import Positive
from clsp.tasks.predictions import every_image
from clsp.tasks.retrieval.config import IndexConfig, QuantiserConfig
from clsp.tasks.retrieval.index import Index, read_index
from clsp.tasks.retrieval.measure import average_precision, measured
from clsp.tasks.retrieval.quantiser import Quantiser, crowding, entropy
from clsp.tasks.retrieval.training import Quantising
from clsp.tasks.views import Drawing
from tiny import plain_spec

SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}


@pytest.fixture
def quantiser():
    torch.manual_seed(0)
    return Quantiser(12, QuantiserConfig(bits=32, width=5)).eval()


@pytest.fixture
def features():
    return torch.randn(300, 12, generator=torch.Generator().manual_seed(1))


def test_a_score_is_the_product_of_the_query_with_the_words_of_the_code(quantiser, features):
    codes = quantiser.codes(features)
    assert codes.shape == (300, 4) and codes.dtype == np.uint8
    index = Index(quantiser, np.ascontiguousarray(codes.T), [str(n) for n in range(300)])
    for number, table in enumerate(quantiser.table(features[:5])):
        query = quantiser.query(features[number : number + 1]).flatten(1)[0]
        expected = (quantiser.decode(codes) @ query).detach()
        np.testing.assert_allclose(index.scores(table), expected, atol=1e-6)
        places, scores = index.search(table, 7)
        best = np.argsort(-expected.numpy(), kind="stable")[:7]
        np.testing.assert_allclose(scores, expected[best], atol=1e-6)
        assert set(places) == set(best) or len(set(np.round(scores, 6))) < 7


def test_a_search_over_many_blocks_is_the_whole_order_and_the_first_of_equals_wins(quantiser):
    """40,000 codes of few kinds: most scores stand in several blocks."""
    codes = np.random.default_rng(0).integers(0, 3, (4, 40_000), dtype=np.uint8)
    index, table = Index(quantiser, codes, []), np.random.default_rng(1).random((4, 256), dtype=np.float32)
    expected = np.argsort(-index.scores(table), kind="stable")
    for k in (1, 300, 20_000, 50_000):
        places, scores = index.search(table, k)
        assert np.array_equal(places, expected[:k])
        assert np.array_equal(scores, index.scores(table)[places])


def test_a_hard_choice_is_the_nearest_word_and_a_soft_one_goes_there(features):
    torch.manual_seed(0)
    hard = Quantiser(12, QuantiserConfig(bits=32, width=5, hardness=1e5))
    embedded, choices = hard(features)
    torch.testing.assert_close(embedded, hard.decode(hard.codes(features)), atol=1e-2, rtol=0)
    torch.testing.assert_close(choices.sum(dim=2), torch.ones(300, 4))
    parts = hard.query(features)
    torch.testing.assert_close(parts.norm(dim=2), torch.ones(300, 4))
    nearest = torch.cdist(parts.transpose(0, 1), hard.unit_words).argmin(dim=2).T
    assert (nearest.numpy() == hard.codes(features)).all()


def test_words_that_were_fitted_are_nearer_than_random_ones(quantiser, features):
    def error():
        return float((quantiser.query(features).flatten(1) - quantiser.decode(quantiser.codes(features))).norm())

    before = error()
    quantiser.fit(features, seed=0)
    assert error() < 0.7 * before
    quantiser.fit(features[:3], seed=0)  # fewer than there are words
    assert quantiser.words.isfinite().all()


def test_entropy_and_crowding_are_their_formulas():
    choices = torch.rand(3, 2, 4).softmax(dim=2)
    plain = np.mean([-sum(p * np.log(p) for p in part) for image in choices.tolist() for part in image])
    assert float(entropy(choices)) == pytest.approx(plain, rel=1e-5)
    words = F.normalize(torch.randn(2, 5, 3), dim=2)
    pairs = [float(w[i] @ w[j]) for w in words for i in range(5) for j in range(5) if i != j]
    assert float(crowding(words)) == pytest.approx(np.mean(pairs), abs=1e-6)


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
    config = IndexConfig(**{"batch_size": 12, "epochs": 2, "codebook": 0.0, **changes})
    quantiser = Quantiser(12, QuantiserConfig(bits=16, width=4))
    drawing = Drawing(plain_spec(), config.augment, seed=0)
    made = Quantising(Flat(), quantiser, config, drawing, Pixels(images), np.arange(24), candidates=candidates)
    made.to_device(torch.device("cpu"))
    return made


def embedded(made, number, flip=False):
    positions, found = made.batches.positions(number), []
    for view in range(3 if flip else 2):
        pixels = made.pixels[positions]
        image = made.drawing(pixels.flip(-1) if view == 2 else pixels, made.ids[positions], number, view)
        found.append(made.quantiser(made.encoder(image))[0])
    return found


@pytest.mark.parametrize("clip", [{}, {"count": 3}, {"threshold": 0.2}])
def test_a_step_is_the_clipped_loss_of_quantised_views(clip):
    made = training(clip=clip, temperature=0.25)
    expected = clipped_nt_xent(*embedded(made, 1), 0.25, **clip)
    torch.testing.assert_close(made.step(1).loss, expected)


def test_candidates_are_pulled_and_the_regularisers_count():
    def candidates(device):
        return lambda positions, anchors, step: Positive(anchors.flip(-1))

    made = training(candidates, positive_weight=0.5, entropy=0.1, codebook=0.2)
    first, second, third = embedded(made, 0, flip=True)
    terms = made.step(0).terms
    torch.testing.assert_close(terms["contrast"], clipped_nt_xent(first, second, 0.3))
    torch.testing.assert_close(terms["positive"], 0.5 * clipped_nt_xent(first, third, 0.3))
    torch.testing.assert_close(terms["codebook"], 0.2 * crowding(made.quantiser.unit_words))
    assert terms.keys() == {"contrast", "positive", "entropy", "codebook"}


def test_a_step_moves_words_projection_and_encoder():
    made = training()
    made.step(0).loss.backward()
    for parameter in (made.quantiser.words, made.quantiser.projection.weight, made.encoder.layer.weight):
        assert parameter.grad.abs().sum() > 0
    frozen = training(encoder_lr=0.0)
    frozen.step(0).loss.backward()
    assert frozen.encoder.layer.weight.grad is None and len(frozen.optimizer()[0].param_groups) == 1


def test_average_precision_is_the_formula():
    hits = np.array([True, False, True, True, False])
    assert average_precision(hits) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert average_precision(np.ones(4, bool)) == 1 and average_precision(np.zeros(4, bool)) == 0
    scores = np.random.default_rng(0).permutation(50)
    right = np.random.default_rng(1).random(50) < 0.3
    assert average_precision(right[np.argsort(-scores)]) == pytest.approx(average_precision_score(right, scores))


def test_a_perfect_search_is_100_and_a_random_one_is_chance():
    labels, rng = np.repeat(np.arange(4), 250), np.random.default_rng(0)
    perfect = measured(
        lambda n, k: np.argsort(labels != n % 4, kind="stable")[:k], labels, np.arange(8) % 4, first=250, protocol="x"
    )
    assert perfect.value == 100 and perfect.details["precision@10"] == 100
    random = measured(lambda n, k: rng.permutation(1000)[:k], labels, np.arange(40) % 4, first=1000, protocol="x")
    assert random.value == pytest.approx(25, abs=2)
    assert "(a random order finds 25.5 %)" in random.protocol  # a little above the quarter that is right


def test_an_index_is_read_as_it_was_written_and_faiss_reads_it_too(tmp_path, quantiser, features):
    faiss = pytest.importorskip("faiss")
    index = Index(quantiser, np.ascontiguousarray(quantiser.codes(features).T), [f"{n}.png" for n in range(300)], "x")
    index.save(tmp_path)
    read = read_index(tmp_path)
    assert (read.codes == index.codes).all() and read.names == index.names and read.source == "x"
    table = quantiser.table(features[:4])
    np.testing.assert_array_equal(read.quantiser.table(features[:4]), table)
    theirs = faiss.read_index(str(tmp_path / "index.faiss"))
    query = quantiser.query(features[:4]).flatten(1).detach().numpy()
    scores, _ = theirs.search(query, 9)
    np.testing.assert_allclose(scores, [index.search(one, 9)[1] for one in table], rtol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """200 digits as files, and an encoder of them."""
    place = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:240], digits.target, strict=False)):
        path = place / ("test" if number % 6 == 5 else "train") / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).save(path)
    settings = {"classify.epochs": 8, "classify.batch_size": 32, "classify.backbone.args": SMALL}
    return place, clsp.classify(place, place.parent / "encoder", settings=settings)


def test_an_image_finds_itself_and_its_like(folder, tmp_path, capsys):
    place, encoder = folder
    out, page, query = tmp_path / "index", tmp_path / "found.html", sorted((place / "train" / "3").iterdir())[0]
    options = ["--epochs", "2", "--quantiser.bits", "32"]
    assert dispatch(["index", "--encoder", str(encoder), "--data", str(place), "--out", str(out), *options]) == 0
    found = files.read_json(out / "metrics.json")
    assert found["codes"]["map"] > 30 and found["bits"] == 32 and found["images"] == 240
    capsys.readouterr()
    assert dispatch(["search", "--index", str(out), "--query", str(query), "--k", "5", "--html", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and f"train/3/{query.name}" in " ".join(lines[:3])
    assert page.read_text().count("data:image/png") == 6
    assert "Queries and what they find" in (out / "report.html").read_text()
    assert clsp.search(out, query, k=2).scores[0] <= 1.0001
    assert dispatch(["verify", str(out)]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["index", "--data", "digits", "--out", "x"], "--encoder"),
        (["index", "--encoder", "nowhere", "--data", "digits", "--out", "x"], "config.json"),
        (["index", "--encoder", "timm", "--data", "digits", "--out", "x", "--quantiser.bits", "7"], "one of"),
        (["index", "--encoder", "timm", "--data", "digits", "--out", "x", "--bits", "64"], "--index.quantiser.bits"),
        (["search", "--index", "nowhere", "--query", "a.png"], "codes.npy"),
        (["search", "--index", "nowhere", "--query", "a.png", "--k", "0"], "--k"),
        (["search", "--index", "nowhere"], "--query"),
    ],
)
def test_a_mistake_ends_in_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert dispatch(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("clsp: error") and said in last


def test_an_image_that_cannot_be_read_ends_in_one_line(folder, tmp_path, capsys):
    place, encoder = folder
    clsp.index(place, tmp_path / "i", encoder=encoder, settings={"index.epochs": 0})
    (tmp_path / "a.png").write_bytes(b"no image")
    for query in (tmp_path / "a.png", tmp_path / "nowhere.png", tmp_path):
        assert dispatch(["search", "--index", str(tmp_path / "i"), "--query", str(query)]) == 2
        assert str(query) in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_query_becomes_8_bit_and_opaque_as_the_images_of_the_index_did(tmp_path):
    """Drawings that vanish on white were laid on another ground, and deep scans have one range."""
    rng, folder = np.random.default_rng(0), tmp_path / "drawings"
    folder.mkdir()
    for number in range(12):
        drawn = np.full((16, 16, 4), 255, np.uint8)
        drawn[..., 3] = rng.random((16, 16)) < 0.4
        drawn[..., 3] *= 255
        Image.fromarray(drawn).save(folder / f"{number}.png")
    quick = {"index.epochs": 1, "index.batch_size": 8, "index.backbone.args": SMALL, "images.size": 16}
    index = clsp.index(folder, tmp_path / "index", settings=quick)
    assert files.read_json(index / "images.json")["tones"]["ground"] == "black"
    images, spec = clsp.images_of(index), read_spec(index)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clsp.tasks.retrieval.run.encode_images", lambda *a, **k: seen.append(a[1]) or torch.zeros(1, 16))
        clsp.search(index, folder / "3.png", k=1)
    assert np.array_equal(seen[0][0], images.train.images[list(images.train.names).index("3.png")])
    assert np.array_equal(every_image(str(folder), spec, index)[1][:], images.train.images[:])
