"""A training whose numbers are no numbers any more ends in one line, and the line's advice works."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from clsp import files
from clsp.engine.fit import NonFiniteLossError
from clsp.engine.hardware import HardwareConfig
from clsp.methods import METHODS
from clsp.training.health import health
from clsp.training.pretrain import pretrain
from tiny import for_method

CPU = HardwareConfig(accelerator="cpu")


def train(make_images, tiny_pretrain, folder, **changes):
    return pretrain(make_images(16, None), tiny_pretrain(**changes), CPU, seed=0, folder=folder)


def ends_well(make_images, tiny_pretrain, folder, **settings):
    """Train; what is kept is finite, and what is not is said in one line."""
    try:
        train(make_images, tiny_pretrain, folder, warmup_epochs=0, checkpoint_minutes=0, **settings)
    except NonFiniteLossError as error:
        assert "became non-finite at step" in str(error) and "\n" not in str(error)
        assert not (folder / "encoder.safetensors").exists()
    else:
        assert all(bool(t.isfinite().all()) for t in load_file(folder / "encoder.safetensors").values())


@pytest.mark.parametrize("method", METHODS.names())
def test_a_far_too_large_learning_rate_ends_in_one_line(make_images, tiny_pretrain, tmp_path, method):
    ends_well(make_images, tiny_pretrain, tmp_path, **for_method(method, lr=1e30, epochs=2))


@pytest.mark.parametrize("lr", [1e12, 1e30, 1e38, 1e200])
@pytest.mark.parametrize("epochs", [1, 3])
def test_so_it_does_on_every_call_and_also_when_the_last_step_did_it(make_images, tiny_pretrain, tmp_path, lr, epochs):
    """The only step has a finite loss, and may leave weights that cannot be used."""
    for _ in range(2):
        ends_well(make_images, tiny_pretrain, tmp_path, lr=lr, epochs=epochs)


def test_the_advice_works_when_followed(make_images, tiny_pretrain, tmp_path):
    folder, settings = tmp_path / "enc", {"epochs": 3, "warmup_epochs": 0}
    with pytest.raises(NonFiniteLossError, match=rf"the loss term nt_xent .* or delete {folder} first, with a lower"):
        train(make_images, tiny_pretrain, folder, lr=1e30, **settings)
    assert train(make_images, tiny_pretrain, tmp_path / "another", lr=0.1, **settings).finished
    shutil.rmtree(folder)
    assert train(make_images, tiny_pretrain, folder, lr=0.1, **settings).finished
    assert all(line["loss"] is not None for line in files.read_jsonl(folder / "metrics.jsonl"))


def test_a_checkpoint_never_holds_weights_that_are_not_finite(make_images, tiny_pretrain, tmp_path):
    with pytest.raises(NonFiniteLossError):
        train(make_images, tiny_pretrain, tmp_path, lr=1e200, warmup_epochs=0, checkpoint_minutes=0)
    kept = tmp_path / "checkpoints/last.safetensors"
    assert not kept.exists() or all(bool(t.isfinite().all()) for t in load_file(kept).values())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_the_health_of_embeddings_that_are_no_numbers_is_no_number_and_no_traceback(bad):
    embeddings = torch.randn(8, 4)
    embeddings[2, 1] = bad
    assert all(value != value for value in health(embeddings, torch.randn(8, 4)).metrics().values())
    assert all(value != value for value in health(torch.randn(8, 4), embeddings).metrics().values())
