"""A GPU for tensors without values: what would fail or wait on a real one is found on any machine.

An operation on tensors of two devices fails, and so does one whose result the CPU must know (``item``, ``nonzero``, a
mask as an index): there it would wait for the device. Copies to and from the device that wait are counted.
"""

from __future__ import annotations

import traceback
from collections import Counter
from types import SimpleNamespace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from clsp.engine.batches import Batches

GPU = torch.device("cuda")
_COPIES = ("aten::_to_copy", "aten::copy_")


class Waits(TorchDispatchMode):
    """Counts copies between the devices for which the CPU waits, by the line of the package that asked for them."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.name() in _COPIES:
            source = args[1] if func.name() == "aten::copy_" else args[0]
            if isinstance(source, torch.Tensor) and source.device.type != out.device.type and not _quick(args, kwargs):
                self.found[_asked()] += 1
        return out


def _quick(args, kwargs):
    return bool((kwargs or {}).get("non_blocking")) or (len(args) > 2 and args[2] is True)


def _asked():
    frames = [frame for frame in traceback.extract_stack() if "/clsp/" in frame.filename]
    last = frames[-1]
    return f"{last.filename.rpartition('/clsp/')[2]}: {last.line}"


def moved(network, mode):
    """Put a network on it."""
    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None:
                there = _there(value.detach(), mode)
                module._parameters[name] = torch.nn.Parameter(there, requires_grad=value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = _there(value, mode)
    return network


def _there(value, mode):
    copy = mode.from_tensor(value)
    with mode:
        return copy.to(GPU)


def stand_in(monkeypatch):
    """Answer what would be asked of a real one, and let what is made of values on the CPU have them."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)  # it asks for one, too
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=0))
    order = Batches._positions

    def real(*rest):  # it is made of values, on the CPU
        with unset_fake_temporarily():
            return order(*rest)

    monkeypatch.setattr(Batches, "_positions", real)


def walk(training, monkeypatch):
    """Take two steps on it; return the copies that waited. Gradients are left out: autograd asks for a real GPU."""
    stand_in(monkeypatch)
    mode, waits = FakeTensorMode(allow_non_fake_inputs=True), Waits()
    moved(training, mode)
    with mode, torch.no_grad():
        training.to_device(GPU)
        training.step(0)  # what is copied once, such as a scheduler's tables, is copied here
        training.after_step(0)
        with waits:
            for number in (1, 2):
                training.step(number)
                training.after_step(number)
    return dict(waits.found)
