"""Checkpoints: what goes in comes out, and nothing in a foreign file runs."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from clsp.engine.checkpoint import _encode, load_checkpoint, save_checkpoint
from clsp.errors import UserError

STATE = {
    "global_step": 7,
    "optimizer_states": [{"state": {0: {"momentum_buffer": torch.randn(3, 2), "step": None}, 1: {}}, "lr": 1e-3}],
    "betas": (0.9, 0.999, ("nested", [])),
    "flags": [True, False, None, -1, 2**62, float("inf"), "é\n"],
    "tensor": {"tensor": torch.arange(5), "dict": torch.tensor(2.5, dtype=torch.float64), "tuple": {}},
    "kinds": [torch.zeros(0), torch.ones(2, dtype=torch.bool), torch.ones(2, dtype=torch.bfloat16), torch.eye(3).T[1:]],
    (1, "a"): {True: 1, 2.5: 2},
}


def same_state(first, second):
    """Whether two nested states are equal bit for bit."""
    one, two = {}, {}
    if _encode(first, one) != _encode(second, two):
        return False
    return all(torch.equal(one[name], two[name]) for name in one)


def kinds(value):
    """The types of a nested value, tensors by their dtype."""
    if isinstance(value, torch.Tensor):
        return value.dtype
    if isinstance(value, dict):
        return {(type(k), k): kinds(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [kinds(v) for v in value]
    return type(value)


def test_nested_states_come_back_with_their_types(tmp_path):
    save_checkpoint(tmp_path / "c", STATE)
    back = load_checkpoint(tmp_path / "c")
    assert same_state(STATE, back)
    assert kinds(back) == kinds(STATE)


def test_equal_states_are_equal_bytes(tmp_path):
    written = set()
    for _ in range(12):  # an order left to chance would show
        save_checkpoint(tmp_path / "c", STATE)
        written.add((tmp_path / "c").read_bytes())
    assert len(written) == 1


def test_a_changed_value_is_another_state():
    assert not same_state({"a": torch.zeros(2)}, {"a": torch.tensor([0.0, 1e-30])})
    assert not same_state({"a": 1}, {"a": 2})
    assert not same_state({0: 1}, {"0": 1})


def test_tensors_that_share_memory_are_saved_apart(tmp_path):
    weights = torch.randn(4)
    save_checkpoint(tmp_path / "c", {"a": weights, "b": weights, "c": weights[1:]})
    back = load_checkpoint(tmp_path / "c")
    back["a"].zero_()
    assert torch.equal(back["b"], weights)
    assert torch.equal(back["c"], weights[1:])


def test_what_is_no_plain_value_is_refused_and_the_old_file_stays(tmp_path):
    save_checkpoint(tmp_path / "c", {"a": 1})
    with pytest.raises(TypeError, match="not set"):
        save_checkpoint(tmp_path / "c", {"a": {1, 2}})
    assert load_checkpoint(tmp_path / "c") == {"a": 1}


class Payload:
    """A pickle that would make a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("kind", ["foreign", "garbage", "empty", "missing", "pickle", "torch", "truncated"])
def test_files_that_are_no_checkpoint_are_refused_and_not_run(tmp_path, kind):
    path, hit = tmp_path / "last.safetensors", tmp_path / "hit"
    if kind == "foreign":
        save_file({"w": torch.zeros(2)}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(hit)))
    elif kind == "torch":
        torch.save({"state_dict": Payload(hit)}, path)
    elif kind == "truncated":
        save_checkpoint(path, STATE)
        path.write_bytes(path.read_bytes()[:-3])
    elif kind != "missing":
        path.write_bytes(b"\x00garbage" * 50 if kind == "garbage" else b"")
    with pytest.raises(UserError, match=r"is no checkpoint.*delete it"):
        load_checkpoint(path)
    assert not hit.exists()
