"""What the trainings run on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clsp import distributed
from clsp.settings import Count, settings

if TYPE_CHECKING:
    from torch import nn


@settings
class HardwareConfig:
    """Devices and loggers. Under torchrun or SLURM the launcher's processes are used."""

    accelerator: str = "auto"
    """auto, cpu, gpu (or cuda), mps."""
    devices: Count = 1
    """Devices (or CPU processes) a node."""
    nodes: Count = 1
    """Nodes."""
    sync_batch_norm: bool = False
    """Share BatchNorm statistics over all devices (GPUs only)."""
    compile: bool = False
    """Compile the networks with torch.compile. The first step of each stage waits one to two minutes for it."""
    loggers: list[Literal["tensorboard", "wandb", "mlflow"]] = field(default_factory=list)
    """Loggers besides metrics.jsonl; each is an extra: pip install 'clsp[tensorboard]'."""

    def require_layers(self, module: nn.Module) -> None:
        """Refuse to share BatchNorm statistics of layers that would lose their activation by it.

        torch replaces timm's layer of BatchNorm and activation in one by BatchNorm alone: the network would be trained
        without activations that it is used with.

        Raises:
            UserError: names the option.
        """
        from timm.layers import BatchNormAct2d

        from clsp.errors import UserError

        if self.sync_batch_norm and any(isinstance(layer, BatchNormAct2d) for layer in module.modules()):
            raise UserError(
                "--hardware.sync_batch_norm true would take the activations out of this backbone, whose layers hold "
                "BatchNorm and activation in one; leave it false, or choose a ResNet or a vision transformer"
            )

    def synchronised(self, module: nn.Module) -> nn.Module:
        """Let BatchNorm share its statistics over all devices, where it was asked for; return the module."""
        if not self.sync_batch_norm or self.processes() == 1:
            return module
        from torch import nn as layers

        shared: nn.Module = layers.SyncBatchNorm.convert_sync_batchnorm(module)
        return shared

    def processes(self) -> int:
        """Processes of a training, over all nodes."""
        _, devices, nodes = self.layout()
        return devices * nodes

    def layout(self) -> tuple[str, int, int]:
        """Accelerator, devices a node and nodes: torchrun's where it started this process, else as set."""
        local = int(os.environ.get("LOCAL_WORLD_SIZE", 0))
        devices, nodes = (local, distributed.world_size() // local) if local else (self.devices, self.nodes)
        return self.accelerator, devices, nodes

    def compile_parts(self, modules: Iterable[nn.Module]) -> None:
        """Compile ``modules`` in place where it was asked for; the names of their weights stay.

        Their shapes are fixed but for an epoch's last batch, so each shape is compiled for itself.

        Raises:
            UserError: on a CPU, torch.compile needs a C++ compiler, and there is none.
        """
        if not self.compile:
            return
        if device_of(self).type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
            from clsp.errors import UserError

            raise UserError("--hardware.compile needs a C++ compiler on a CPU; install g++, or leave it false")
        for module in modules:
            module.compile(dynamic=False)

    def extra_loggers(self, folder: Path) -> list[Any]:
        """Make the loggers that were asked for.

        Raises:
            UserError: the logger's package is not installed.
        """
        return [_logger(name, folder) for name in self.loggers]


def _logger(name: str, folder: Path) -> Any:
    from lightning.pytorch import loggers

    from clsp.errors import UserError

    try:
        if name == "tensorboard":
            return loggers.TensorBoardLogger(folder, name="tensorboard")
        if name == "wandb":
            return loggers.WandbLogger(project="clsp", save_dir=folder)
        return loggers.MLFlowLogger(experiment_name="clsp", save_dir=str(folder / "mlflow"))
    except ModuleNotFoundError as error:
        raise UserError(f"logger '{name}' is not installed; pip install 'clsp[{name}]'") from error


def has_bf16(accelerator: str) -> bool:
    """Return whether the device computes in bf16 natively (CPUs: AVX512-BF16 or AMX; GPUs: Ampere and later)."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def autocast_precision(wanted: Literal["auto", "32", "bf16"], hardware: HardwareConfig) -> Any:
    """Return Lightning's name of the precision: ``32-true`` or ``bf16-mixed``."""
    bf16 = wanted == "bf16" or (wanted == "auto" and has_bf16(hardware.accelerator))
    return "bf16-mixed" if bf16 else "32-true"


def device_of(hardware: HardwareConfig) -> Any:
    """Return the torch device on which stages without a trainer (sampling, evaluation) work.

    Raises:
        UserError: this machine, or this build of torch, has no such device.
    """
    import torch

    from clsp.errors import UserError, suggest

    wanted = hardware.accelerator
    there = {
        "gpu": torch.cuda.is_available(),
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted not in ("auto", "cpu", *there):
        raise UserError(
            f"--hardware.accelerator '{wanted}' is not one of auto, cpu, gpu, cuda, mps{suggest(wanted, there)}"
        )
    if wanted in there and not there[wanted]:
        raise UserError(f"--hardware.accelerator {wanted}: torch finds no such device here; choose auto or cpu")
    if wanted in ("auto", "gpu", "cuda") and there["cuda"]:
        if distributed.world_size() == 1:
            return torch.device("cuda")
        # Before a training has begun nobody has shared out the devices yet; a launcher may show each process only one.
        torch.cuda.set_device(distributed.local_rank() % torch.cuda.device_count())
        return torch.device("cuda", torch.cuda.current_device())
    if wanted in ("auto", "mps") and there["mps"]:
        return torch.device("mps")
    return torch.device("cpu")
