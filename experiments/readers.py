"""All readers of files that may be damaged or a stranger's: a small sound folder for each, and what reads it.

`COVERED` names the functions of the package that call the boundary (`clsp.files.read_*`, `clsp.files.foreign`); a test
compares it with the source, so that no reader is left out here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from clsp import files
from clsp.diffusion.config import DiffusionConfig
from clsp.engine.record import read_record
from clsp.images.imageset import Images, Split


@dataclass(frozen=True)
class Reader:
    """Something that reads a folder."""

    make: Callable[[Path], None]
    """Writes sound files into an empty folder."""
    read: Callable[[Path], Any]
    """Reads them; raises UserError of what is damaged."""
    writes: tuple[str, ...] = ()
    """Names of what reading may write below the folder."""


def _stage(folder: Path) -> None:
    record = {"stage": "thing", "status": "finished", "seconds": 1.5, "settings": {"lr": 0.1, "head": {"dim": 8}},
              "inputs": {"data": "abc", "unet": "x"}, "facts": {"flops": 1.0, "course": [[1, 7], [3, 4]]},
              "version": "0.1.0", "process": "1 of here",
              "files": {"a.npy": {"size": 3, "sha256": "0" * 64}}}  # fmt: skip
    files.write_json(folder / "stage.json", record)
    files.write_json(folder / "clsp.json", {"max_strength": 0.5})


def _read_stage(folder: Path) -> None:
    from clsp.diffusion.levels import trained_strength
    from clsp.diffusion.start import _spent, finished_weights
    from clsp.engine.course import Course, paced
    from clsp.engine.stage import completed, stored_record

    if (record := read_record(folder)) is not None:
        record.number("flops")
        paced(None, Course(5), record.facts, float)
        completed(record.settings, {"lr": 0.2, "head": {"dim": 1, "norm": "none"}})
        json.dumps(stored_record(folder))
    trained_strength(folder)
    _spent(folder)
    finished_weights(DiffusionConfig(weights="gone"), folder)
    files.ledger_of(folder / "stage.json")


def _seal(folder: Path) -> None:
    files.write_text(folder / "comparison.md", "table")
    made = files.entries(folder, ["*.md"])
    files.write_json(folder / files.SEAL, files.sealed({"command": "clsp run --out x", "files": made}))
    _stage(folder)


def _verify(folder: Path) -> None:
    from clsp.study.verify import verify

    for finding in verify(folder).findings:
        str(finding)


def _bank(folder: Path) -> None:
    from clsp.positives.shards import Part, parts_of, write_shard, written

    rng = np.random.default_rng(0)
    parts = parts_of(6, 3)
    for part in parts:
        images = rng.integers(0, 256, (3, 2, 4, 4, 1)).astype(np.uint8)
        write_shard(folder, Part(part.first, part.count), images, 0.1, "made")
    files.write_array(folder / "ids.npy", np.array([1, 2, 5, 7, 8, 9]))
    manifest = {"format": "clsp-bank-1", "anchors": 6, "candidates": 2, "shape": [4, 4, 1], "dtype": "uint8",
                "data": {"source": "made", "fingerprint": "f" * 16}, "unet": "u" * 16, "sampler": {"steps": 3},
                "shards": [vars(shard) for shard in written(folder, parts, "made")],
                "measures": {"similarity": {"value": 0.5, "meaning": "cosine"}}}  # fmt: skip
    files.write_json(folder / "manifest.json", manifest)


def _read_bank(folder: Path) -> None:
    from clsp.positives.bank import PositiveBank
    from clsp.positives.shown import bank_html
    from clsp.publish.bank import bank_card
    from clsp.publish.origin import origin_of

    bank = PositiveBank.open(folder, verify=True)
    bank.array(np.arange(len(bank)))
    bank.unet, bank.fingerprint  # noqa: B018
    bank.require_data(bank.manifest["data"]["fingerprint"], "made")
    bank_html(bank)
    bank_card(bank, origin_of(folder), ["shards"], license_="unknown", title="a bank")


def _read_shards(folder: Path) -> None:
    from clsp.positives.shards import missing_parts, parts_of, saturation, written

    parts = parts_of(6, 3)
    missing_parts(folder, parts, "made")
    for shard in written(folder, parts, "made"):
        saturation(folder, shard)


def _checkpoint(folder: Path) -> None:
    from clsp.engine.checkpoint import save_checkpoint

    state = {"step": 3, "training": torch.nn.Linear(2, 2).state_dict(), "optimizer": {"lr": (0.1, [None, "x"])}}
    save_checkpoint(folder / "last.safetensors", state)


def _read_checkpoint(folder: Path) -> None:
    from clsp.engine.checkpoint import load_checkpoint

    load_checkpoint(folder / "last.safetensors")


def _training(folder: Path) -> None:
    from clsp.engine.fit import _State

    _State(folder, *_parts()).save(2)


def _parts() -> tuple[Any, Any, Any]:
    from clsp.engine.course import Course

    network = torch.nn.Linear(2, 2)
    network.course = Course(5, [(1, 7), (3, 4)])  # type: ignore[assignment]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return network, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def _read_training(folder: Path) -> None:
    from clsp.engine.fit import _State

    _State(folder, *_parts()).load()


def _read_cost(folder: Path) -> None:
    from clsp.positives.cost import training_cost

    with mock.patch("clsp.positives.cost.count_flops", lambda work: 1.0):  # counting takes longer than reading
        training_cost(folder)


def _cost(folder: Path) -> None:
    from clsp.settings.identity import identity

    config = DiffusionConfig(widths=[4, 4], blocks=1, attention=[], norm_groups=2, timesteps=10)
    record = {"stage": "diffusion model", "status": "finished", "seconds": 1.5, "settings": identity(config)}
    files.write_json(folder / "stage.json", {**record, "inputs": {"data": "abc"}, "facts": {}})
    _diffusion(folder)


def _log(folder: Path) -> None:
    lines = [{"step": step, "loss": 1.0 / step, "lr": 0.1, "knn": None, "epoch": 0} for step in range(1, 9)]
    files.append_jsonl(folder / "metrics.jsonl", lines)


def _read_log(folder: Path) -> None:
    from clsp.engine.log import Log

    Log(folder / "metrics.jsonl", ()).rewind(4)


TINY = {"layers": [1, 1, 1, 1], "channels": [2, 2, 2, 2]}


def _encoder(folder: Path) -> None:
    from clsp.encoders.export import EncoderSpec, save_encoder

    spec = EncoderSpec(name="resnet18", args=TINY, stem="small", channels=1, size=8, mean=[0.5], std=[0.2])
    save_encoder(folder, spec.build(), spec, {"method": "simclr"})


def _read_encoder(folder: Path) -> None:
    from clsp.encoders.export import load_encoder, read_spec
    from clsp.encoders.features import encode_images

    encoder, spec = load_encoder(folder), read_spec(folder)
    image, mean, std = np.zeros((1, spec.channels, 8, 8), np.uint8), torch.tensor(spec.mean), torch.tensor(spec.std)
    encode_images(encoder, image, mean, std)


def _shared(folder: Path) -> None:
    """A run with the evaluation of its encoder, and what a card says of it."""
    _encoder(folder / "encoder")
    weights = folder / "encoder" / "encoder.safetensors"
    made, size = files.file_hash(weights), weights.stat().st_size
    record = {"stage": "encoder simclr", "status": "finished", "seconds": 1.5, "settings": {"weights": "/a/b"},
              "inputs": {"data": "abc"}, "facts": {"steps": 3}, "version": "0.1.0", "process": "1 of here",
              "files": {"encoder.safetensors": {"size": size, "sha256": made}}}  # fmt: skip
    files.write_json(folder / "encoder" / "stage.json", record)
    done = {**record, "stage": "evaluation", "inputs": {"encoder": made[:16]}, "files": {}}
    files.write_json(folder / "encoder" / "evaluation" / "stage.json", done)
    told = {"linear": {"title": "linear", "quantity": "accuracy", "unit": "%", "metric": "top1", "limits": "95 %"}}
    rated = {"top1": 50.0, "low": 40.0, "high": 60.0, "protocol": "of two"}
    files.write_json(folder / "encoder" / "evaluation" / "metrics.json", {"measures": told, "linear": rated})
    images = {"source": "/a/made", "fingerprint": "f" * 16, "train": 9, "test": 3, "classes": ["a"], "notes": ["one"],
              "excluded": []}  # fmt: skip
    files.write_json(folder / "images.json", images)
    files.write_text(folder / "recipe.yaml", "command: clsp run\ndata: {source: x}\nversions: {torch: '2'}\nseed: 1\n")


def _read_shared(folder: Path) -> None:
    from clsp.publish.card import model_card
    from clsp.publish.formats import Encoder

    model_card(Encoder.open(folder / "encoder"), ["encoder.safetensors"])


def _classifier(folder: Path) -> None:
    from clsp.encoders.export import EncoderSpec
    from clsp.evaluation.findings.pictures import draw
    from clsp.tasks.classify.model import save_classifier
    from clsp.tasks.classify.training import Classifier

    spec = EncoderSpec(name="resnet18", args=TINY, stem="small", channels=1, size=8, mean=[0.5], std=[0.2])
    save_classifier(folder, Classifier(spec.build(), 2), spec, ("cat", "dog"), {"stage": "classifier"})
    pictures = np.arange(2 * 64, dtype=np.uint8).reshape(2, 1, 8, 8)
    sheet = draw(folder / "suspects.png", pictures, [np.arange(2)], side=8)
    accuracy = {"top1": 50.0, "low": 10.0, "high": 90.0, "protocol": "of two", "confusion": [[1, 0], [1, 0]]}
    shown = [{"name": f"{place}.png", "label": "cat", "suggested": "dog", "confidence": 0.5} for place in range(2)]
    rated = {"precision": 0.5, "recall": None, "average_precision": 0.4, "wrong": 0.2}
    listed = {"count": 2, "of": 9, "rule": "below 0", "sheet": sheet, "shown": shown, "rated": rated}
    files.write_json(folder / "metrics.json", {"accuracy": accuracy, "suspects": listed, "classes": ["cat", "dog"],
                                               "test": "two images"})  # fmt: skip
    noise, record = "{kind: symmetric, rate: 0.1}", "command: clsp classify\ndata: {source: x}\n"
    settings = f"classify: {{epochs: 2, noise: {noise}, consistency: {{weight: 0.1}}}}\n"
    files.write_text(folder / "recipe.yaml", record + settings)


def _read_classifier(folder: Path) -> None:
    from clsp.tasks.classify.model import load_classifier
    from clsp.tasks.classify.run import TASK

    load_classifier(folder)
    TASK.page(folder)
    TASK.told(folder)


def _index(folder: Path) -> None:
    from clsp.encoders.export import EncoderSpec, save_encoder
    from clsp.evaluation.findings.pictures import draw
    from clsp.tasks.retrieval.config import QuantiserConfig
    from clsp.tasks.retrieval.index import Index
    from clsp.tasks.retrieval.quantiser import Quantiser

    spec = EncoderSpec(name="resnet18", args=TINY, stem="small", channels=1, size=8, mean=[0.5], std=[0.2])
    encoder = spec.build()
    save_encoder(folder, encoder, spec, {"stage": "index"})
    quantiser = Quantiser(int(encoder.num_features), QuantiserConfig(bits=16, width=2))  # type: ignore[arg-type]
    codes = np.arange(6, dtype=np.uint8).reshape(2, 3)
    with mock.patch("clsp.tasks.retrieval.index.write_for_faiss"):  # what faiss reads, clsp does not
        Index(quantiser, codes, ["a.png", "b.png", "c.png"], "x").save(folder)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "query.png")
    sheet = draw(folder / "results.png", np.zeros((3, 1, 8, 8), np.uint8), [np.arange(2)], side=8)
    found = {"map": 50.0, "low": 10.0, "high": 90.0, "precision@1": 40.0, "protocol": "of two"}
    facts = {"title": "codes", "quantity": "mAP@3", "unit": "%", "better": "higher", "metric": "map", "limits": "x"}
    results = {"sheet": sheet, "names": [["a.png", "b.png"]]}
    about = {"measures": {"codes": facts}, "codes": found, "bits": 16, "images": 3, "results": results}
    files.write_json(folder / "metrics.json", about)
    files.write_text(folder / "recipe.yaml", "command: clsp index\ndata: {source: x}\n")


def _read_index(folder: Path) -> None:
    from clsp.tasks.retrieval.page import found_page
    from clsp.tasks.retrieval.run import TASK, search

    found = search(folder, folder / "query.png", k=2)
    found_page(folder / "query.png", found.names, found.scores, folder)
    TASK.page(folder)
    TASK.told(folder)


def _dense(folder: Path) -> None:
    row = {"pck@0.05": 1.0, "pck@0.1": 2.0, "pck@0.15": 3.0}
    found = {"warps": {"random": row, "trained": row}, "tested": "2 images", "pairs": {"trained": row}, "of_pairs": "1"}
    files.make_folder(folder / "measures")
    files.write_json(folder / "measures" / "metrics.json", found)
    files.write_text(folder / "recipe.yaml", "command: clsp dense\ndata: {source: x}\n")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "a.png")
    files.make_folder(folder / "PairAnnotation" / "test")
    pair = {"src_imname": "a.jpg", "trg_imname": "b.jpg", "category": "cat", "src_kps": [[1, 2]], "trg_kps": [[5, 6]],
            "trg_bndbox": [1, 2, 5, 4]}  # fmt: skip
    files.write_json(folder / "PairAnnotation" / "test" / "1.json", pair)
    files.write_text(folder / "val_pairs.csv", "a,b,class,XA,YA,XB,YB\na.png,b.png,1,1;2,3;4,5;6,7;8\n")
    numbers = ",".join(str(number) for number in range(40))
    files.write_text(folder / "trn_pairs.csv", f"a,b,{numbers}\na.png,b.png,{numbers}\n")


def _read_dense(folder: Path) -> None:
    from clsp.tasks.correspondence.keypoints import read_pairs
    from clsp.tasks.correspondence.measure import opened
    from clsp.tasks.correspondence.run import TASK

    TASK.page(folder)
    TASK.told(folder)
    opened(folder / "a.png", 8, 1)
    for part in ("test", "val", "trn"):
        read_pairs(folder, part)


def _words(folder: Path) -> None:
    from clsp.encoders.export import EncoderSpec
    from clsp.evaluation.findings.pictures import draw
    from clsp.tasks.text.config import TowerConfig
    from clsp.tasks.text.model import Saved, save_pairing
    from clsp.tasks.text.tower import Pairing, Tower
    from clsp.tasks.text.words import learnt

    spec = EncoderSpec(name="resnet18", args=TINY, stem="small", channels=1, size=8, mean=[0.5], std=[0.2])
    config = TowerConfig(width=4, layers=1, heads=2, length=6, vocabulary=270)
    tokenizer = learnt(["a cat", "a dog"], config)
    pairing = Pairing(spec.build(), Tower(tokenizer.get_vocab_size(), config), 3)
    save_pairing(folder, Saved(pairing, tokenizer, spec, 6), config, ["a {}"], {"stage": "text encoder"})
    sheet = draw(folder / "results.png", np.zeros((2, 1, 8, 8), np.uint8), [np.arange(2)], side=8)
    facts = {"title": "zero-shot", "quantity": "accuracy", "unit": "%", "better": "higher", "metric": "top1",
             "limits": "x"}  # fmt: skip
    zero = {"top1": 50.0, "protocol": "of two", "confusion": [[1, 0], [0, 1]]}
    results = {"sheet": sheet, "captions": ["a cat"], "names": [["a.png", "b.png"]]}
    about = {"measures": {"zero_shot": facts}, "zero_shot": zero, "captions": "captions", "pairs": 2,
             "classes": ["cat", "dog"], "results": results}  # fmt: skip
    files.write_json(folder / "metrics.json", about)
    files.write_text(folder / "recipe.yaml", "command: clsp text\ndata: {source: x}\n")


def _read_words(folder: Path) -> None:
    from clsp.tasks.text.model import load_pairing
    from clsp.tasks.text.run import TASK

    load_pairing(folder)[0].embed_texts(["a cat"])
    TASK.page(folder)
    TASK.told(folder)


def _borrowed(folder: Path) -> None:
    import tokenizers
    import transformers

    from clsp.encoders.export import EncoderSpec
    from clsp.tasks.text import pretrained
    from clsp.tasks.text.config import TowerConfig
    from clsp.tasks.text.model import Saved, save_pairing
    from clsp.tasks.text.tower import Pairing

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog"]
    sizes: dict[str, Any] = {
        "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 4,
    }  # fmt: skip
    config = transformers.BertConfig(vocab_size=len(names), max_position_embeddings=8, **sizes)
    transformers.BertModel(config).save_pretrained(folder / "bert")
    made = tokenizers.BertWordPieceTokenizer({name: number for number, name in enumerate(names)})
    made.save(str(folder / "bert" / "tokenizer.json"))
    spec = EncoderSpec(name="resnet18", args=TINY, stem="small", channels=1, size=8, mean=[0.5], std=[0.2])
    tower = TowerConfig(pretrained=str(folder / "bert"), length=6)
    found = pretrained.find(str(folder / "bert"))
    pairing = Pairing(spec.build(), pretrained.PretrainedTower(found.model(), frozen=False), 3)
    saved = Saved(pairing, found.tokenizer(6), spec, 6)
    save_pairing(folder, saved, tower, ["a {}"], {"stage": "text encoder"})


def _read_borrowed(folder: Path) -> None:
    from clsp.tasks.text import pretrained
    from clsp.tasks.text.model import load_pairing

    found = pretrained.find(str(folder / "bert"))
    found.model()
    found.tokenizer(6)
    load_pairing(folder)[0].embed_texts(["a cat"])


def _diffusion(folder: Path) -> None:
    from diffusers import DDPMPipeline

    from clsp.diffusion.unet import build_scheduler, build_unet

    config = DiffusionConfig(widths=[4, 4], blocks=1, attention=[], norm_groups=2, timesteps=10)
    unet = build_unet(config, channels=1, size=8)
    DDPMPipeline(unet=unet, scheduler=build_scheduler(config)).save_pretrained(folder)


def _read_diffusion(folder: Path) -> None:
    from clsp.diffusion.pipeline import SyntheticPositivePipeline
    from clsp.publish.generator import generator_card

    SyntheticPositivePipeline.from_pretrained(folder)
    generator_card(folder, ["samples.png"], license_="unknown", title="a model")


def _condition(folder: Path) -> None:
    _encoder(folder / "condition")
    axes = {"center": torch.zeros(2), "axes": torch.eye(2, 16)}
    spent = {"seconds": "7.0", "flops": "1e12"}
    files.write_bytes(folder / "condition" / "axes.safetensors", safetensors.torch.save(axes, spent))
    record = {"stage": "encoder", "status": "finished", "seconds": 5.0, "settings": {}, "inputs": {"bank": "x"}}
    record |= {"facts": {"flops": 1e12}, "version": "1", "process": "1 of here", "files": {}}
    files.write_json(folder / "condition" / "stage.json", record)
    drawn = {"flops": 2e12, "generator": {"seconds": 7.0, "flops": 4e12}}
    files.write_json(folder / "positives" / "stage.json", {**record, "facts": drawn})


def _read_condition(folder: Path) -> None:
    from clsp.diffusion.condition import load_condition
    from clsp.diffusion.unet import build_unet
    from clsp.encoders.cost import pretraining_cost
    from clsp.publish.export import Wish
    from clsp.publish.generator import _write_config

    config = DiffusionConfig(widths=[4, 4], blocks=1, attention=[], norm_groups=2, condition="an encoder")
    condition = load_condition(folder, build_unet(config, channels=1, size=8))
    pretraining_cost(folder / "condition")
    with tempfile.TemporaryDirectory() as out:
        if condition is not None:
            condition.save(Path(out))
        _write_config(Wish(folder, Path(out)), "condition/config.json")


def _recipe(folder: Path) -> None:
    text = (
        "about: {title: A recipe}\nseed: 1\nimages: {size: 16, channels: 1}\ndiffusion:\n  widths: [8, 16]\n"
        "  steps: 10\npretrain:\n  lr: 0.1\n  augment: {crop_scale: [0.2, 1.0]}\n  backbone: {name: resnet18, "
        "args: {layers: [1, 1]}}\nper_method: {moco: {lr: 0.3}}\n"
    )
    files.write_text(folder / "recipe.yaml", text)


def _read_recipe(folder: Path) -> None:
    from clsp.recipes.recipe import load_recipe
    from clsp.study.opened import settings_in

    load_recipe(str(folder / "recipe.yaml"))
    settings_in(folder / "recipe.yaml")


def _arrays(folder: Path) -> None:
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    np.save(folder / "images.npy", images)
    np.savez(folder / "images.npz", x_train=images, y_train=np.arange(4), x_test=images)


def _read_arrays(folder: Path) -> None:
    from clsp.images.config import ImagesConfig
    from clsp.images.sources import open_images

    for name in ("images.npy", "images.npz"):
        images = open_images(str(folder / name), ImagesConfig(), seed=0)
        np.asarray(images.train.images[:]).sum()


def _pictures(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    for number, kind in enumerate(("png", "jpeg", "tiff", "gif", "bmp", "webp")):
        Image.fromarray(pixels).save(folder / f"{number}.{kind}")


def _read_pictures(folder: Path) -> None:
    from clsp.images.config import ImagesConfig
    from clsp.images.sources import open_images

    open_images(str(folder), ImagesConfig(store="none"), seed=0)


def _store(folder: Path) -> None:
    from clsp.images.store import INDEX

    array = np.arange(2 * 16, dtype=np.uint8).reshape(2, 1, 4, 4)
    files.write_array(folder / "key" / "train.npy", array)
    split = Split(images=array, names=["a", "b"], labels=np.array([0, 1]))
    part = {"shape": [2, 1, 4, 4], "names": ["a", "b"], "labels": [0, 1], "columns": {}}
    part["fingerprint"] = split.fingerprint
    index = {"key": "key", "parts": {"train": part}, "classes": ["x", "y"], "excluded": [], "notes": []}
    files.write_json(folder / "key" / INDEX, index)


def _read_store(folder: Path) -> None:
    from clsp.images.store import reopen

    if images := reopen(folder, "key", "made"):
        images.fingerprint  # noqa: B018


def _features(folder: Path) -> None:
    from safetensors.torch import save

    from clsp.evaluation.trained import _mark

    train, test = torch.ones(3, 2), torch.zeros(2, 2)
    mark = torch.frombuffer(bytearray(_mark("key", train, test)), dtype=torch.uint8)
    files.write_bytes(folder / "features.safetensors", save({"train": train, "test": test, "key": mark}))


def _read_features(folder: Path) -> None:
    from clsp.evaluation.trained import _read

    _read(folder / "features.safetensors", "key")


def _pairs(folder: Path) -> None:
    files.write_text(folder / "pairs.csv", "first,second,weight\na,b,0.5\nb,c,1\nc,a,0.2\n")


def _read_pairs(folder: Path) -> None:
    from clsp.positives.sources.pairs import read_pairs

    read_pairs(folder / "pairs.csv", ["a", "b", "c"])


def _weights(folder: Path) -> None:
    files.write_json(folder / "config.json", {"architecture": "resnet18"})
    state = {"conv1.weight": torch.ones(2, 3, 3, 3), "bn1.weight": torch.ones(2)}
    files.write_bytes(folder / "encoder.safetensors", safetensors.torch.save(state))
    files.write_json(folder / "recipe.yaml", {"data": {"source": "digits"}, "command": "clsp pretrain --data digits"})
    files.write_bytes(folder / "checkpoints" / "last.safetensors", b"x")
    _stage(folder)


def _read_weights(folder: Path) -> None:
    from clsp.encoders.weights import find_weights, read_weights
    from clsp.study.onward import find_training, tell_schedule
    from clsp.training.config import PretrainConfig
    from clsp.training.start import Start

    read_weights(find_weights(str(folder), "resnet18"))
    tell_schedule(find_training(folder), PretrainConfig())
    Start(str(folder), folder / "encoder.safetensors", whole=True)


def _onward(folder: Path) -> None:
    _recipe(folder)
    recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
    files.write_text(
        folder / "recipe.yaml",
        "command: clsp compare --data photos --methods simclr+nearest --seeds 2 --out here\n"
        "data: {source: photos, from_here: ../photos, labels_from_here: recipe.yaml, fingerprint: a1b2}\n"
        f"{recipe.replace('channels: 1', 'channels: 1, labels: l.csv')}",
    )
    row = {"arm": "simclr+nearest", "runs": {"linear": {"1": 90.0, "2": 91.0}}}
    files.write_json(folder / "comparison.json", {"arms": [row]})
    files.write_json(folder / "evaluation" / "metrics.json", {"arm": "simclr+nearest", "linear": {"top1": 90.0}})
    files.write_bytes(folder / "arms" / "simclr+nearest" / "seed-1" / "checkpoints" / "last.safetensors", b"x")


def _read_onward(folder: Path) -> None:
    from clsp.cli.again import command_for
    from clsp.study.onward import find_training
    from clsp.study.opened import _fingerprint_in, labels_in, source_in

    source_in(folder)
    labels_in(folder)
    _fingerprint_in(folder / "recipe.yaml")
    find_training(folder)
    parts = [folder / "arms" / "simclr+nearest" / f"seed-{seed}" / "config.json" for seed in (1, 3)]
    command_for(folder, parts)


def _table(folder: Path) -> None:
    files.write_text(folder / "labels.csv", "file_name,label\na.png,cat\nb.png,dog\n")
    files.write_text(
        folder / "labels.jsonl", '{"file_name": "a.png", "label": 1}\n{"file_name": "b.png", "label": 2}\n'
    )


def _read_table(folder: Path) -> None:
    from clsp.images.tables import read_table

    for name in ("labels.csv", "labels.jsonl"):
        if (folder / name).exists():
            read_table(folder / name, f"--images.labels {name}")


def _images() -> Images:
    return Images(source="made", train=Split(images=np.zeros((2, 1, 4, 4), np.uint8), names=["a", "b"], labels=None))


def _study(folder: Path) -> None:
    measures = {"linear": {"title": "Linear", "quantity": "accuracy", "unit": "%", "better": "higher",
                           "metric": "top1", "limits": "95 %"}}  # fmt: skip
    metrics = {"measures": measures, "linear": {"top1": 50.0, "low": 40.0, "high": 60.0, "protocol": "A probe."}}
    summary = {"mean": 50.0, "low": 40.0, "high": 60.0, "limits": "95 %"}
    cost = {"seconds": 1.0, "generator_seconds": 0.0, "flops": 1e9, "generator_flops": 0.0}
    arms = [{"arm": arm, "seeds": 1, "sees_labels": False, "linear": summary, "cost": cost, "versus": {},
             "runs": {"linear": {"0": 50.0}}} for arm in ("simclr+bank", "simclr")]  # fmt: skip
    result = {"data": "made", "baseline": "simclr", "measures": measures, "compared": [["simclr+bank", "simclr"]],
              "protocols": {"linear": "A probe."}, "arms": arms}  # fmt: skip
    found = {"source": "made", "train": 4, "test": 2, "channels": 1, "size": 8, "classes": ["a"],
             "labelled_train": 4, "fingerprint": _images().fingerprint, "notes": ["n"],
             "excluded": [{"name": "x", "reason": "y"}]}  # fmt: skip
    cell = folder / "arms" / "simclr+bank" / "seed-0"
    files.write_json(folder / "comparison.json", result)
    own = {"arm": "simclr+bank", "controls": {}, "differences": {}}
    files.write_json(folder / "evaluation" / "metrics.json", {**own, **metrics})
    files.write_json(folder / "images.json", found)
    text = "recipe: smoke\ndata: {source: made}\nversions: {clsp: '1'}\npretrain: {lr: 0.1}\n"
    files.write_text(folder / "recipe.yaml", text)
    files.write_json(cell / "evaluation" / "metrics.json", metrics)
    _stage(cell)
    _stage(folder / "diffusion")
    _log(cell)
    manifest = {"anchors": 2, "candidates": 2, "measures": {"similarity": {"value": 0.5, "meaning": "cosine"}}}
    files.write_json(folder / "positives" / "manifest.json", {"format": "clsp-bank-1", **manifest})
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "positives" / "sheet.png")
    _findings(folder / "findings")


def _findings(folder: Path) -> None:
    told = {"headline": "4 images.", "state": ["Healthy."], "clusters": "2.", "duplicates": "1.", "outliers": "1."}
    sheet = {"side": 4, "gap": 1, "pictures": [1]}
    clusters = {"rule": "r", "shown": [{"size": 4, "label": "a", "fraction": 0.5}], "sheet": sheet}
    pair = {"names": ["x", "y"], "parts": ["train", "test"], "cosine": 0.99}
    duplicates = {"rule": "r", "count": 1, "groups": 1, "shown": [pair], "sheet": {**sheet, "pictures": [2]}}
    outliers = {"rule": "r", "count": 1, "shown": [{"name": "x", "distance": 0.5}], "sheet": sheet}
    found = {"told": told, "clusters": clusters, "duplicates": duplicates, "outliers": outliers}
    files.write_json(folder / "findings.json", found)
    for name in ("clusters", "duplicates", "outliers"):
        Image.fromarray(np.zeros((6, 11), np.uint8)).save(folder / f"{name}.png")


def _read_report(folder: Path) -> None:
    from clsp.report.page import build_report
    from clsp.study.findings import headline

    build_report(folder)
    headline(folder)


def _read_cells(folder: Path) -> None:
    from clsp.recipes.arms import Arm
    from clsp.study.collect import Row
    from clsp.study.record import require_same_data

    row = Row(Arm("simclr", "bank"), {0: folder / "arms" / "simclr+bank" / "seed-0"})
    for name in row.measures:
        row.summary(name)
    require_same_data(folder, _images())


def _explored(folder: Path) -> None:
    from clsp.evaluation.embeddings import Embeddings

    images = _images()
    embeddings = Embeddings(images, np.eye(len(images.train.names), 3, dtype=np.float32))
    embeddings.save(folder / "embeddings.parquet")
    names = embeddings.names
    clusters = "".join(f"{name},train,{place % 2 + 1},0.5\n" for place, name in enumerate(names))
    files.write_text(folder / "findings" / "clusters.csv", f"name,part,cluster,distance\n{clusters}")
    pair = f"1,{names[0]},{names[1]},train,train,0.99,1.5\n"
    head = "group,first,second,first_part,second_part,cosine,difference\n"
    files.write_text(folder / "findings" / "duplicates.csv", head + pair)
    far = f"name,part,distance,stands_out\n{names[0]},train,0.7,yes\n{names[1]},train,0.5,no\n"
    files.write_text(folder / "findings" / "outliers.csv", far)
    files.write_json(folder / "findings" / "findings.json", {"outliers": {"count": 1}})
    tones = {"ranges": {"integer": [0.0, 4095.0]}, "ground": "gray"}
    files.write_json(folder / "images.json", {"fingerprint": images.fingerprint, "tones": tones})


def _read_explored(folder: Path) -> None:
    from clsp.explorer import read_found
    from clsp.study.explore import _is_own, read_embeddings
    from clsp.study.opened import tones_of

    images = _images()
    tones_of(folder)
    _is_own(folder, images, None)
    embeddings = read_embeddings(folder / "embeddings.parquet", images)
    if embeddings is not None:
        read_found(folder / "findings", embeddings, np.arange(len(embeddings)))


def _gate(folder: Path) -> None:
    from clsp.positives.verdict import Judged, Verdict

    _bank(folder)
    _stage(folder)
    verdict = Verdict.of({"follows": Judged(0.5, 0.6, "at least", "chance is 0.5")}, {"follows": "it does not"})
    record = files.read_json(folder / "stage.json", dict[str, Any])
    files.write_json(folder / "stage.json", {**record, "facts": {"verdict": verdict.record()}})


def _read_gate(folder: Path) -> None:
    from clsp.positives.bank import PositiveBank
    from clsp.positives.gate import told, verdict_of

    if (verdict := verdict_of(PositiveBank.open(folder))) is not None:
        told(verdict)


def _rates(folder: Path) -> None:
    asked = {"kind": "U-Net training", "key": "abc", "batch": 64, "device": "x cpu", "threads": 1, "machine": "here",
             "torch": "2.14"}  # fmt: skip
    files.write_json(folder / "rate.json", {"flops_per_second": 1e9, "asked": asked})


def _read_rates(folder: Path) -> None:
    from clsp.preflight.rates import _kept

    if (kept := _kept(folder / "rate.json")) is not None:
        assert kept.flops_per_second > 0


def _budget(folder: Path) -> None:
    planned = {"diffusion": 40.0, "bank": 10.0, "simclr+bank": 30.0, "rest": 10.0}
    extent = {"images": 100, "steps": 50, "epochs": 5}
    plan = {"seconds": 90.0, "count": 100, "size": 16, "channels": 1, "extent": extent, "controls": False,
             "accelerated": False, "planned": planned, "said": ["so"], "spent": 1.5}  # fmt: skip
    files.write_json(folder / "budget.json", plan)


def _read_budget(folder: Path) -> None:
    from clsp.study.clock import Clock, read_budget

    if (kept := read_budget(folder)) is not None:
        budget, spent = kept
        budget.prepare({}, lambda recipe: None)  # type: ignore[arg-type, return-value]
        clock = Clock(budget, folder, spent)
        for stage in ("diffusion", "simclr+bank", "simclr"):
            clock.pace(stage, folder / stage)


READERS = {
    "stage": Reader(_stage, _read_stage),
    "verify": Reader(_seal, _verify),
    "bank": Reader(_bank, _read_bank),
    "shards": Reader(_bank, _read_shards),
    "checkpoint": Reader(_checkpoint, _read_checkpoint),
    "training": Reader(_training, _read_training),
    "cost": Reader(_cost, _read_cost),
    "log": Reader(_log, _read_log, writes=("metrics.jsonl",)),
    "encoder": Reader(_encoder, _read_encoder),
    "export": Reader(_shared, _read_shared),
    "classify": Reader(_classifier, _read_classifier),
    "retrieval": Reader(_index, _read_index),
    "correspondence": Reader(_dense, _read_dense),
    "text": Reader(_words, _read_words),
    "borrowed": Reader(_borrowed, _read_borrowed),
    "diffusion": Reader(_diffusion, _read_diffusion),
    "condition": Reader(_condition, _read_condition),
    "recipe": Reader(_recipe, _read_recipe),
    "arrays": Reader(_arrays, _read_arrays),
    "pictures": Reader(_pictures, _read_pictures),
    "store": Reader(_store, _read_store),
    "features": Reader(_features, _read_features),
    "pairs": Reader(_pairs, _read_pairs),
    "weights": Reader(_weights, _read_weights),
    "onward": Reader(_onward, _read_onward),
    "table": Reader(_table, _read_table),
    "report": Reader(_study, _read_report, writes=("report.html",)),
    "cells": Reader(_study, _read_cells),
    "explore": Reader(_explored, _read_explored),
    "gate": Reader(_gate, _read_gate),
    "rates": Reader(_rates, _read_rates),
    "budget": Reader(_budget, _read_budget, writes=("budget.json",)),
}
"""By what they read."""

COVERED = {
    "cli.again._cells_of_run": "onward",
    "cli.again._cells_of_table": "onward",
    "cli.again._first_seed": "onward",
    "cli.again._of_command": "onward",
    "cli.repair._interrupt": "stage",
    "diffusion.condition._read": "condition",
    "diffusion.condition.save": "condition",
    "diffusion.levels.trained_strength": "stage",
    "diffusion.pipeline.from_pretrained": "diffusion",
    "diffusion.folder._json": "diffusion",
    "diffusion.folder._require_weights": "diffusion",
    "diffusion.folder._scheduler": "diffusion",
    "diffusion.folder.require_readable": "diffusion",
    "diffusion.start._spent": "stage",
    "encoders.cost.pretraining_cost": "condition",
    "encoders.export.load_encoder": "encoder",
    "encoders.export.read_config": "encoder",
    "encoders.weights._require_same_backbone": "weights",
    "encoders.weights.read_weights": "weights",
    "engine.checkpoint.load_checkpoint": "checkpoint",
    "engine.course.paced": "stage",
    "engine.fit.load": "training",
    "engine.log.rewind": "log",
    "engine.record.read_record": "stage",
    "evaluation.trained._read": "features",
    "explorer.found._clusters": "explore",
    "explorer.found._duplicates": "explore",
    "explorer.found._lines": "explore",
    "explorer.found._outliers": "explore",
    "explorer.found._outstanding": "explore",
    "images.arrays.open_arrays": "arrays",
    "images.store._open_split": "store",
    "images.store.build": "store",
    "images.store.reopen": "store",
    "positives.bank._open_shard": "bank",
    "positives.bank._read_ids": "bank",
    "positives.bank.read_manifest": "bank",
    "positives.bank.unet": "bank",
    "positives.cost.training_cost": "cost",
    "positives.shards.finished_shard": "shards",
    "positives.shards.saturation": "shards",
    "positives.sources.pairs.read_pairs": "pairs",
    "positives.shown._from_sheet": "bank",
    "positives.synthesize._finish": "bank",
    "preflight.rates._kept": "rates",
    "publish.bank.bank_card": "bank",
    "publish.card.model_card": "export",
    "publish.copying.copy": "bank",
    "publish.generator._card": "diffusion",
    "publish.generator._write_config": "condition",
    "publish.generator.generator_card": "diffusion",
    "publish.origin._metrics": "export",
    "publish.origin._told": "export",
    "recipes.recipe.read_recipe": "recipe",
    "report.folder.json": "report",
    "report.folder.lines": "report",
    "report.folder.recipe": "report",
    "report.folder.text": "report",
    "report.html.cells": "report",
    "report.html.inline_image": "report",
    "report.page._of_what_is_there": "report",
    "study.collect._generator": "cells",
    "study.collect.gap": "cells",
    "study.collect.metrics": "cells",
    "study.engine._take_away": "encoder",
    "study.evaluation.evaluate_cell": "cells",
    "study.explore._is_own": "explore",
    "study.explore.read_embeddings": "explore",
    "study.findings.headline": "report",
    "study.onward._main": "onward",
    "study.onward.find_training": "weights",
    "study.opened._told": "onward",
    "study.opened.tones_of": "explore",
    "study.record.require_same_data": "cells",
    "study.result.read": "cells",
    "study.seal.changing": "verify",
    "study.study.identity": "stage",
    "study.clock.read_budget": "budget",
    "study.gate._advice": "stage",
    "tasks.classify.model.load_classifier": "classify",
    "tasks.task.page": "classify",
    "tasks.task.told": "classify",
    "tasks.correspondence.keypoints._spair": "correspondence",
    "tasks.correspondence.keypoints.read_pairs": "correspondence",
    "tasks.text.captions._beside": "text",
    "tasks.text.model.load_pairing": "text",
    "tasks.text.words.read": "text",
    "tasks.retrieval.index.read_index": "retrieval",
    "tasks.retrieval.run.search": "retrieval",
    "study.gate.judged": "gate",
    "tasks.text.model._pretrained": "borrowed",
    "tasks.text.pretrained.model": "borrowed",
    "tasks.text.words.borrowed": "borrowed",
}
"""Functions that read through the boundary, each with the reader here that meets it or the same file."""
