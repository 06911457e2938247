"""Drawing on a GPU: the reference's algorithm against ours, and ours compiled, by U-Net and by candidates.

Both draw from the same U-Net of random weights, which changes no time. The reference is the paper's (see
`generation.reference`): DDIM with 100 steps, each candidate in a pass of its own, in 32 bit. Ours draws as the recipe
fashion-mnist does, in bf16. That ours is as good is measured where there is a trained model: `make bench` does it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from diffusers import UNet2DModel
from generation import pipeline_of, reference
from gpu_harness import Options, Work, options_of, seconds
from harness import Result, Rounds, finish, interleave
from torch import Tensor

from clsp.diffusion.config import DiffusionConfig
from clsp.diffusion.unet import build_scheduler, build_unet
from clsp.engine.hardware import HardwareConfig
from clsp.positives.cost import sampling_flops
from clsp.recipes.recipe import load_recipe


@dataclass(frozen=True)
class Case:
    """A U-Net and a number of candidates."""

    name: str
    config: DiffusionConfig
    size: int
    channels: int
    candidates: int
    samples: int
    """Candidates drawn at once."""


def cases(tiny: bool) -> list[Case]:
    """A U-Net of some 2.5 million weights for gray images of 28 pixels, and the paper's of 35 for colour ones of 32."""
    if tiny:
        small = DiffusionConfig(widths=[8, 16], blocks=1, attention=[], norm_groups=4)
        return [Case("tiny", small, 8, 1, 2, 4)]
    light = DiffusionConfig(widths=[32, 64, 128], blocks=2, attention=[2])
    return [
        *(Case(f"2.5 M, k = {k}", light, 28, 1, k, 4096) for k in (1, 8)),
        *(Case(f"35 M, k = {k}", DiffusionConfig(), 32, 3, k, 1024) for k in (1, 8)),
    ]


def compare(case: Case, options: Options, peak: float) -> list[Result]:
    """The reference, ours, and ours compiled."""
    torch.manual_seed(0)
    unet = build_unet(case.config, channels=case.channels, size=case.size).eval().to(options.device)
    config = replace(load_recipe("fashion-mnist").synthesize, candidates=case.candidates)
    pipeline = pipeline_of(config, unet, dict(build_scheduler(case.config).config))
    side, count = unet.config.sample_size, case.samples // case.candidates
    anchors = torch.rand(count, unet.config.in_channels, side, side, device=options.device) * 2 - 1
    few = anchors[: max(count // 16, 1)]  # the reference takes long

    def ours() -> Tensor:
        others = anchors.roll(1, 0)[:, None].expand(-1, case.candidates, -1, -1, -1)
        with torch.no_grad(), options.autocast():
            return pipeline.draw(anchors, config.sampling(), starts=others).images

    def theirs() -> Tensor:
        with torch.no_grad():
            return reference(unet, few)

    rounds = interleave(lambda: seconds(theirs), lambda: seconds(ours), options.rounds)
    best, each = min(rounds.ours), count * case.candidates
    reached = f"{sampling_flops(unet, replace(config, anchors=count), count) / best / peak:.0%} of the peak"
    about = {"weights": sum(value.numel() for value in unet.parameters()), "candidates a second": round(each / best)}
    name = f"{case.name}: drawing against DDIM-100"
    drawn = rounds.result(name, 20.0, per=each, their_per=len(few), floor=reached, quality=about)
    return [drawn, *compiled(case, unet, ours, options)]


def compiled(case: Case, unet: UNet2DModel, draw: Work, options: Options) -> list[Result]:
    """Ours with the U-Net's parts compiled, against ours without, one after the other: they are compiled in place."""
    if options.device.type == "cpu":
        return []
    plain = [seconds(draw) for _ in range(options.rounds)]
    hardware = HardwareConfig(accelerator="gpu", compile=True)
    hardware.compile_parts((*unet.down_blocks, unet.mid_block, *unet.up_blocks))
    after = [seconds(draw) for _ in range(options.rounds)]
    return [Rounds(ours=after, theirs=plain).result(f"{case.name}: compiled against not", 1.2)]


def main() -> None:
    options = options_of(__doc__)
    peak = options.peak()
    results = [one for case in cases(options.tiny) for one in compare(case, options, peak)]
    finish(results, options.json, "generation")


if __name__ == "__main__":
    main()
