"""What is here: versions, devices, cores, memory, disk, extras and data; and whether something would stop a run."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement

from clsp import cores
from clsp._version import __version__
from clsp.engine.hardware import has_bf16
from clsp.engine.threads import bind
from clsp.images.builtin import FASHION_MNIST
from clsp.images.cache import cache_folder
from clsp.images.catalogue import PACKAGED
from clsp.images.named import blue_marble, openclipart, wesnoth
from clsp.memory import free_memory, machine_memory

SHOWN = ("torch", "torchvision", "lightning", "timm", "diffusers")
"""Packages whose versions are told."""
_HELD = (*SHOWN, "numpy", "safetensors", "huggingface-hub")
"""Packages that ask for versions of each other."""
_TOOLS = ("test", "docs", "dev")
"""Extras for working on clsp itself."""
_LITTLE = 1e9
"""Bytes of disk or memory below which a run is likely to stop."""


@dataclass
class Findings:
    """What was found."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    """What it is about, and what is there."""
    stops: list[str] = field(default_factory=list)
    """What stops a run, with what to do, a line each."""
    warnings: list[str] = field(default_factory=list)
    """What should be known, and stops nothing."""

    def text(self) -> str:
        """All of it, and the verdict in the last line."""
        width = max(len(name) for name, _ in self.lines)
        told = [f"{name:<{width}}  {value}" for name, value in self.lines]
        told += ["", *(f"warning: {line}" for line in self.warnings), *(f"stops:   {line}" for line in self.stops)]
        count = len(self.stops)
        many = f"{count} thing{'s' * (count > 1)} found that stop{'s' * (count == 1)} a run, see above"
        return "\n".join([*told, f"verdict: {many if count else 'nothing found that stops a run'}"])


def examine() -> Findings:
    """Look at this machine and this installation; nothing is changed, and nothing is downloaded."""
    found = Findings()
    _packages(found)
    _devices(found)
    _room(found)
    found.lines += [(f"extra {name}", told) for name, told in _extras()]
    found.lines += [(f"data {name}", told) for name, told in _data()]
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements(package: str) -> list[Requirement]:
    """What a package asks for; nothing where it is not installed."""
    try:
        return [Requirement(text) for text in metadata.requires(package) or ()]
    except metadata.PackageNotFoundError:
        return []


def _plain(package: str) -> list[Requirement]:
    """What a package asks for here, without its extras."""
    return [one for one in _requirements(package) if one.marker is None or one.marker.evaluate({"extra": ""})]


def _packages(found: Findings) -> None:
    """Versions, and requirements that are not met: of clsp, and of the libraries on each other."""
    found.lines += [("Python", platform.python_version()), ("clsp", __version__)]
    found.lines += [(name, _version(name) or "missing") for name in SHOWN]
    asked = [("clsp", one) for one in _plain("clsp")]
    asked += [(name, one) for name in _HELD for one in _plain(name) if one.name.lower() in _HELD]
    for who, one in asked:
        there = _version(one.name)
        if there is None or not one.specifier.contains(there, prereleases=True):
            wanted = f"{one.name}{one.specifier}"
            found.stops.append(f"{who} needs {wanted}, and {there or 'none'} is here: pip install '{wanted}'")
    if not _requirements("clsp"):
        found.warnings.append("clsp is not installed as a package here, so what it needs was not compared")


def _devices(found: Findings) -> None:
    """Processor and GPUs, the precision that each computes in, cores and threads."""
    bf16 = "bf16" if has_bf16("cpu") else "32 bit (no AVX512-BF16 or AMX, which 'precision auto' asks for)"
    found.lines.append(("CPU", f"{torch.backends.cpu.get_cpu_capability()}; precision auto: {bf16}"))
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        kind = "bf16" if has_bf16("cuda") else "32 bit"
        found.lines.append((f"GPU {number}", f"{about.name}, {_gigabytes(about.total_memory)}; precision auto: {kind}"))
    if torch.backends.mps.is_available():
        found.lines.append(("GPU", "MPS (Apple)"))
    elif not torch.cuda.is_available():
        build = f"this torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without"
        found.lines.append(("GPU", f"none that torch finds; {build}"))
    bound = bind()
    chosen = " (OMP_NUM_THREADS, MKL_NUM_THREADS or torch chose them)" if bound.chosen else ""
    found.lines.append(("cores", f"{cores.usable()} usable, {cores.busy():.1f} busy with other work"))
    found.lines.append(("threads", f"{bound.number} for a stage that begins now{chosen}"))
    compiler = any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++")))
    found.lines.append(("C++ compiler", "there" if compiler else "none: --hardware.compile cannot be used on a CPU"))


def _room(found: Findings) -> None:
    """Memory and disk."""
    free = free_memory()
    found.lines.append(("memory", f"{_gigabytes(free)} free of {_gigabytes(machine_memory())}"))
    if free < _LITTLE:
        found.warnings.append(f"{_gigabytes(free)} of memory are free; most runs need more")
    for name, folder in (("this folder", Path.cwd()), ("cache", cache_folder())):
        place = next(one for one in (folder, *folder.parents) if one.is_dir())
        room = shutil.disk_usage(place).free
        found.lines.append((name, f"{folder}, {_gigabytes(room)} free on its disk"))
        if not os.access(place, os.W_OK):
            fix = "choose an --out elsewhere" if name == "this folder" else "set CLSP_CACHE to a folder of yours"
            found.warnings.append(f"{folder} cannot be written to; {fix}")
        elif room < _LITTLE:
            found.warnings.append(
                f"{_gigabytes(room)} are free on the disk of {folder}; clsp check says what a run takes"
            )


def _extras() -> Iterator[tuple[str, str]]:
    """Each extra: its packages, or the command that installs them."""
    every = _requirements("clsp")
    names = metadata.metadata("clsp").get_all("Provides-Extra") or [] if every else []
    for name in sorted(set(names) - set(_TOOLS)):
        own = [one for one in every if one.marker and one.marker.evaluate({"extra": name})]
        own = [one for one in own if not one.marker or not one.marker.evaluate({"extra": ""})]
        there = {one.name: _version(one.name) for one in own}
        short = [one.name for one in own if not there[one.name] or not one.specifier.contains(there[one.name] or "0")]
        told = ", ".join(f"{package} {version}" for package, version in there.items())
        yield name, f"missing {', '.join(short)}: pip install 'clsp[{name}]'" if short else told


def _data() -> Iterator[tuple[str, str]]:
    """The data sets that come as packages."""
    there = {"openclipart": openclipart.is_there, "wesnoth": wesnoth.is_there, "blue-marble": blue_marble.is_there}
    for name, command in PACKAGED.items():
        yield name, "there" if there[name]() else f"not installed: {command}"
    debian = FASHION_MNIST.is_dir()
    yield "fashion-mnist", "there" if debian else "not installed, so downloaded: sudo apt install dataset-fashion-mnist"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
