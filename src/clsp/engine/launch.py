"""The processes of a run: found or started once, before the first stage; every stage then works on all of them."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from lightning.fabric import Fabric

from clsp import distributed
from clsp.engine import threads, watch
from clsp.engine.hardware import HardwareConfig, autocast_precision
from clsp.errors import UserError

Precision = Literal["auto", "32", "bf16"]


def launch(hardware: HardwareConfig) -> None:
    """Open the group of processes that ``hardware`` and the launcher ask for; a second call does nothing.

    Raises:
        UserError: there are not as many devices or processes as the settings say.
    """
    if hardware.processes() > 1 and not distributed.active():
        fabric_for(hardware, "32")


def fabric_for(hardware: HardwareConfig, precision: Precision) -> Fabric:
    """Return Lightning's Fabric for a training in ``precision``: device, autocast, and the group of processes."""
    return _fabric(hardware.layout(), autocast_precision(precision, hardware))


@lru_cache(maxsize=4)
def _fabric(layout: tuple[str, int, int], precision: Any) -> Fabric:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    accelerator, devices, nodes = layout
    if devices * nodes > 1:
        _require_program()
    started = distributed.world_size()
    if started not in (1, devices * nodes):
        raise UserError(
            f"the launcher started {started} processes, and --hardware.devices (a node) times --hardware.nodes "
            f"are {devices * nodes}; set these to match"
        )
    _quiet()
    options: dict[str, Any] = {}
    if devices * nodes > 1:
        from lightning.fabric.strategies import DDPStrategy

        # Buffers (memories, BatchNorm statistics) are kept equal by the methods; broadcasting them from the first
        # process each step would send a MoCo queue over the wire every time.
        options["strategy"] = DDPStrategy(broadcast_buffers=False)
        options["plugins"] = _environment()
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision, **options)
        with watch.meeting(), threads.kept():
            fabric.launch()
    except (MisconfigurationException, RuntimeError) as error:  # fewer devices than wanted, or none of this kind
        raise UserError(f"--hardware.devices {devices}: {error}") from error
    distributed.open_control()
    watch.start()
    return fabric


def _require_program() -> None:
    """Refuse several processes where nothing could start them: they begin by running the same program again.

    Raises:
        UserError: this is an interactive session, a notebook, or code that came through a pipe or ``python -c``.
    """
    main, launched = sys.modules["__main__"], distributed.under_srun() or "LOCAL_RANK" in os.environ
    again = getattr(main, "__spec__", None) is not None or Path(getattr(main, "__file__", None) or "").is_file()
    if not launched and (not again or hasattr(sys, "ps1")):
        raise UserError(
            "--hardware.devices above 1 needs a program that can be started once for each device, and this is an "
            "interactive session or code from a pipe; put the code into a script and run 'python SCRIPT.py', use the "
            "command line ('clsp pretrain ...'), or set --hardware.devices 1"
        )


def _environment() -> list[Any]:
    """What tells Fabric who starts the processes, where it would be mistaken.

    In a batch script SLURM's variables are there, but it is srun that starts the tasks; without it Fabric would wait
    for tasks that nobody starts, where it has to start the processes itself.
    """
    if "SLURM_NTASKS" not in os.environ or distributed.under_srun() or "LOCAL_WORLD_SIZE" in os.environ:
        return []
    from lightning.fabric.plugins.environments import LightningEnvironment

    return [LightningEnvironment()]


def _quiet() -> None:
    """Silence Lightning's advice; what the user needs to know is said by the stages."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
