"""A text encoder of transformers in place of the small one: a tiny BERT of random weights, as others save theirs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from clsp import files
from clsp.cli.main import dispatch
from clsp.errors import UserError
from clsp.tasks.text import pretrained, words
from clsp.tasks.text.config import TowerConfig
from clsp.tasks.text.model import load_pairing
from clsp.tasks.text.pretrained import PretrainedTower

transformers = pytest.importorskip("transformers")
CAPTIONS = [f"a {colour} {shape}" for colour in ("red", "green", "blue") for shape in ("bar", "square")]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT with a head, as transformers saves it, and its tokenizer."""
    place = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *sorted({word for text in CAPTIONS for word in text.split()}),
    ]
    (place / "vocab.txt").write_text("\n".join(names))
    library = pytest.importorskip("tokenizers")
    tokenizer = library.BertWordPieceTokenizer({name: number for number, name in enumerate(names)})
    tokenizer.save(str(place / "tokenizer.json"))
    config = transformers.BertConfig(
        vocab_size=len(names), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertForMaskedLM(config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of one colour each, with captions beside them."""
    place, rng = tmp_path_factory.mktemp("captioned"), np.random.default_rng(0)
    for number in range(48):
        image = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        image[4:12, 4 : 12 if number % 2 else 6, number // 2 % 3] = 230
        name = f"{'test' if number >= 36 else 'train'}/{number:03d}"
        (place / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{name}.png")
        (place / f"{name}.txt").write_text(CAPTIONS[number // 2 % 3 * 2 + number % 2])
    return place


def trained(folder, bert, out, *more):
    options = ["--epochs", "2", "--batch_size", "12", "--tower.pretrained", str(bert), *more]
    assert dispatch(["text", "--data", str(folder), "--out", str(out), *options]) == 0
    return load_file(out / "text.safetensors")


def test_features_are_the_mean_over_the_tokens_that_transformers_gives(bert):
    found = pretrained.find(str(bert))
    tower, tokenizer = PretrainedTower(found.model(), frozen=False).train(), found.tokenizer(16)
    theirs = transformers.BertModel.from_pretrained(bert).eval()
    given = words.tokens(tokenizer, ["a red bar", "a blue", ""], 16)
    for text, features in zip(["a red bar", "a blue", ""], tower(given), strict=True):
        ids = torch.tensor([tokenizer.encode(text).ids])
        expected = theirs(input_ids=ids).last_hidden_state[0].mean(dim=0)
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_long_captions_are_cut_and_end_as_the_model_wants_it(bert):
    tokenizer = pretrained.find(str(bert)).tokenizer(4)
    (row,) = words.tokens(tokenizer, ["a red bar a red bar"], 4).tolist()
    names = [tokenizer.id_to_token(number - 1) for number in row]
    assert names == ["[CLS]", "a", "red", "[SEP]"]


def test_it_is_trained_kept_and_read_again_without_its_source(folder, bert, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(bert, source)
    state = trained(folder, source, tmp_path / "out")
    before = pretrained.find(str(bert)).model().state_dict()
    moved = {name for name, tensor in before.items() if not tensor.equal(state[f"tower.model.{name}"])}
    assert any(name.startswith("encoder.layer.1") for name in moved)
    shutil.rmtree(source)
    saved, _ = load_pairing(tmp_path / "out")
    assert saved.embed_texts(CAPTIONS).shape == (6, 128)
    assert dispatch(["verify", str(tmp_path / "out")]) == 0
    table = tmp_path / "labels.csv"
    words_ = ["--model", str(tmp_path / "out"), "--data", str(folder), "--classes", "red,blue", "--out", str(table)]
    assert dispatch(["zeroshot", *words_]) == 0 and len(table.read_text().splitlines()) == 49


def test_a_frozen_one_stays_as_it_is_and_other_weights_are_another_training(folder, bert, tmp_path):
    state = trained(folder, bert, tmp_path / "out", "--tower.frozen", "true")
    for name, tensor in pretrained.find(str(bert)).model().state_dict().items():
        assert tensor.equal(state[f"tower.model.{name}"]), name
    other = tmp_path / "other"
    shutil.copytree(bert, other)
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 0.1 for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    assert pretrained.find(str(other)).digest != pretrained.find(str(bert)).digest
    again = trained(folder, other, tmp_path / "out", "--tower.frozen", "true")
    assert not again["text.weight"].equal(state["text.weight"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda place: (place / "tokenizer.json").unlink(), "no tokenizer.json there"),
        (lambda place: (place / "model.safetensors").write_bytes(b"x" * 40), "is no text encoder"),
        (lambda place: (place / "config.json").write_text('{"model_type": "t5"}'), "is no text encoder"),
        (lambda place: (place / "config.json").write_text('{"model_type": "nix"}'), "is no text encoder"),
        (lambda place: (place / "config.json").write_text("[]"), "config.json"),
    ],
)
def test_what_is_no_text_encoder_is_refused_before_the_training(folder, bert, tmp_path, capsys, spoil, said):
    place = tmp_path / "spoilt"
    shutil.copytree(bert, place)
    spoil(place)
    options = ["--tower.pretrained", str(place), "--out", str(tmp_path / "out")]
    assert dispatch(["text", "--data", str(folder), *options]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("clsp: error") and said in last


def test_a_false_description_of_the_tower_fills_no_memory(folder, bert, tmp_path):
    trained(folder, bert, tmp_path / "out")
    place = tmp_path / "out" / pretrained.CONFIG
    right = json.loads(place.read_text())
    for record in ("stage.json", files.SEAL):  # else their hashes tell
        (tmp_path / "out" / record).unlink(missing_ok=True)
    for name, value in (("num_hidden_layers", 10**6), ("hidden_size", 10**7), ("vocab_size", 10**10)):
        files.write_text(place, json.dumps({**right, name: value}))
        with pytest.raises(UserError, match=r"text\.safetensors"):
            load_pairing(tmp_path / "out")


def test_settings_of_the_other_tower_are_not_used():
    assert "lr_factor" in TowerConfig().unused() and "width" in TowerConfig(pretrained="x").unused()
