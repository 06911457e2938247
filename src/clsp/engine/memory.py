"""Too little memory: how it shows on each device, and what would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from clsp import distributed, memory
from clsp.engine.heap import release_heap
from clsp.errors import UserError

if TYPE_CHECKING:
    from torch import nn

Made = TypeVar("Made")

_WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "could not create a primitive",
    "could not execute a primitive",
)
"""What torch says in a RuntimeError where an allocation failed: on a CPU there is no type of its own for it, and oneDNN
speaks of its primitives."""

_SAFE = 0.8
"""Fraction of what is free that is reckoned with: memory is in pieces."""


def is_too_little_memory(error: BaseException) -> bool:
    """Whether ``error`` says that an allocation failed, whatever the device.

    A GPU has torch.OutOfMemoryError; on a CPU torch raises a RuntimeError, numpy and Python a MemoryError.
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def fits(work: Callable[[], object]) -> bool:
    """Do ``work``; return False where memory does not suffice for it. What it raises besides is raised.

    The answer is a value because the exception holds the frames of the attempt, and with them its tensors, as long as
    it is handled: who tries again within ``except`` has less memory than before.
    """
    try:
        work()
    except (MemoryError, RuntimeError) as error:
        if not is_too_little_memory(error):
            raise
    else:
        return True
    release_heap()  # what the attempt freed is the heap's until then, and libraries ask for pages besides it
    return False


@dataclass
class Batches:
    """Rows that are worked on at once: fewer from where memory did not suffice for them."""

    size: int
    """Rows of a batch, at most."""
    alone: str = "one image at once; make some free"
    """What memory does not suffice for where it does not for a single row, and what to do then."""

    def over(self, work: Callable[[int, int], Made], count: int) -> Iterator[Made]:
        """Do ``work`` on the rows from 0 to ``count``, and yield what each batch made, in order.

        Args:
            work: called with the first row and the one after the last.
            count: rows.

        Raises:
            UserError: memory does not suffice for one row.
        """
        first = 0
        while first < count:
            last, made = min(first + self.size, count), list[Made]()
            if fits(lambda: made.append(work(first, last))):  # noqa: B023 - called at once
                yield made[0]
                first = last
            elif last - first == 1:
                raise UserError(
                    f"the memory ({memory.machine_memory() / 1e9:.1f} GB) does not suffice for {self.alone}"
                )
            else:
                self.size = (last - first + 1) // 2


def in_batches(work: Callable[[int, int], Made], count: int, size: int) -> list[Made]:
    """Do ``work`` on ``count`` rows in batches of at most ``size``, see `Batches.over`."""
    return list(Batches(size).over(work, count))


def train_within(
    run: Callable[[], object],
    network: nn.Module,
    step: Callable[[int], object],
    batch: int,
    *,
    title: str,
    setting: str,
) -> None:
    """Do ``run``, a training; where its memory does not suffice, say what would fit.

    That is reckoned and not tried: near the limit libraries crash where they should complain.

    Args:
        run: the training.
        network: what is trained; it has no values afterwards if memory did not suffice.
        step: one step of it on so many images that need no memory of their own, forward and backward.
        batch: images of a step of this process.
        title: of the training.
        setting: name of its batch size.

    Raises:
        UserError: memory does not suffice; says for how many images it would.
    """
    if fits(run):
        return
    network.zero_grad(set_to_none=True)
    free, total = free_memory(), memory.machine_memory()
    room = f"{free / 1e9:.2f} GB free of {total / 1e9:.1f}"
    lead = f"{title}: the memory ({room}) does not suffice for {batch} images a step"
    if batch < 4:
        raise UserError(f"{lead}; choose a smaller --images.size or smaller networks, or make some free")
    try:
        least, most = _peaks(network, step, (2, batch))
    except (MemoryError, RuntimeError) as error:  # too little even for that: a thread, a code page
        raise UserError(f"{lead}; choose a smaller --{setting}, half or less, or make some free") from error
    count = 2 + int((_SAFE * free - least) / max(most - least, 1.0) * (batch - 2))
    if count < 2:
        raise UserError(
            f"{lead}, nor for 2, which take {least / 1e9:.2f} GB; choose a smaller --images.size or smaller networks, "
            "or make some free"
        )
    count = min(1 << (count.bit_length() - 1), batch // 2)
    fit = count * distributed.world_size()
    lower = setting.replace("batch_size", "lr")
    raise UserError(
        f"{lead}, but for about {count}: choose --{setting} {fit} with a lower --{lower}, or make some free"
    )


def _peaks(network: nn.Module, step: Callable[[int], object], batches: Sequence[int]) -> list[float]:
    """Bytes that a step on each of ``batches`` takes with its gradient and an optimiser of two averages."""
    from clsp.engine.costs import costs

    more = 2.0 * sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    steps = [lambda _, batch=batch: step(batch) for batch in batches]
    return [cost.peak + more for cost in costs(network, steps, max(batches))]


def free_memory() -> float:
    """Bytes that this process may still take on its device, after it gave back what it keeps."""
    import torch

    release_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info()[0])
    return memory.free_memory()
