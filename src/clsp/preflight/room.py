"""Whether a run fits into memory: asked before its first stage, at a price that no run notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clsp import distributed
from clsp.diffusion.condition import untold
from clsp.diffusion.unet import build_unet
from clsp.encoders.export import EncoderSpec
from clsp.preflight.page import device, size
from clsp.preflight.stages import Plan, Stage, plan_stages

if TYPE_CHECKING:
    from clsp.recipes.prepare import Prepared

_MARGIN = 4.0
"""How many times the outputs of all layers a step may take: with gradients, views and what is kept besides."""


def memory_note(prepared: Prepared, *, own_model: bool) -> str | None:
    """Say that a run does not fit into memory; None where it does.

    The networks' outputs are summed up first, on tensors without content, which takes no time. Only where these come
    near to the memory that is there is the run planned as ``clsp check`` plans it.

    Args:
        prepared: recipe and images.
        own_model: whether the run trains a diffusion model and draws the bank.
    """
    with distributed.by_itself():  # a step of the plan must not wait for the other processes
        return _note(Plan(prepared.recipe, prepared.images, None), own_model=own_model)


def _note(plan: Plan, *, own_model: bool) -> str | None:
    place, room, more = device(plan, None)
    if _MARGIN * _outputs(plan, own_model=own_model) + more < room:
        return None
    stages = [stage for stage in plan_stages(plan) if own_model or stage.name.startswith("encoder ")]
    largest = max(stages, key=lambda stage: stage.memory)
    if largest.memory + more <= room:
        return None
    planned = f"the {largest.name} is planned with {size(largest.memory + more)}"
    fix = _fix(largest, plan, room - more)
    return f"memory: {planned}, and {place} has {size(room)}: it does NOT fit; {fix} ('clsp check' shows the plan)"


def _fix(stage: Stage, plan: Plan, room: float) -> str:
    """What would fit: memory grows with the batch."""
    section = {"diffusion model": "diffusion", "synthetic positives": "synthesize"}.get(stage.name, "pretrain")
    batch = getattr(plan.recipe, section).batch_size
    fit = int(batch * room / stage.memory)
    if fit < 2:
        return "choose a smaller --images.size or smaller networks"
    return f"choose --{section}.batch_size {1 << (fit.bit_length() - 1)} or less, or a smaller --images.size"


def _outputs(plan: Plan, *, own_model: bool) -> float:
    """Bytes of the outputs of all layers of the largest step, in 32 bit; infinite where they cannot be found so."""
    recipe, images = plan.recipe, plan.images
    views, found = 3, []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            spec = EncoderSpec.of(recipe.pretrain.backbone, images)
            x = torch.zeros(1, images.channels, images.size, images.size, device="meta")
            found.append(_of(spec.build(), views * plan.local_batch(recipe.pretrain.batch_size), x))
            if own_model:
                unet = build_unet(recipe.diffusion, channels=images.channels, size=images.size)
                side = unet.config.sample_size
                x = torch.zeros(1, unet.config.in_channels, side, side, device="meta")
                batch = plan.local_batch(max(recipe.diffusion.batch_size, recipe.synthesize.batch_size))
                told = (value.to("meta") for value in untold(unet, 1).values())
                found.append(_of(unet, batch, x, torch.zeros(1, device="meta"), *told))
    except (RuntimeError, NotImplementedError, TypeError):  # an operation that tensors without content do not know
        return float("inf")
    return max(found)


def _of(network: nn.Module, images: int, *inputs: Any) -> float:
    """Bytes of the outputs of the layers of ``network`` for so many ``images``, and four times its weights'.

    Args:
        network: it has no values afterwards.
        images: of a step.
        inputs: of one image, on the device ``meta``.
    """
    total, weights = 0.0, sum(parameter.nbytes for parameter in network.parameters())

    def add(layer: nn.Module, given: Any, out: Any) -> None:
        nonlocal total
        total += out.nbytes if isinstance(out, Tensor) else 0

    handles = [m.register_forward_hook(add) for m in network.modules() if not list(m.children())]
    network.to("meta").eval()(*inputs)  # moved, not made there: some constructors ask tensors for their values
    for handle in handles:
        handle.remove()
    return 4.0 * weights + images * total
