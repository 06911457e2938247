"""The methods by name. A new method is a file in this folder, a name and a section in config.py, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from clsp.methods.base import Method
    from clsp.training.config import PretrainConfig


def build_method(encoder: nn.Module, config: PretrainConfig, *, seed: int) -> Method:
    """Make the method that ``config.method`` names around ``encoder``.

    Args:
        encoder: the backbone.
        config: the method's name, its section, and the heads.
        seed: names the random rows with which memories start, and a method's own draws.
    """
    from clsp.methods.all4one import All4One
    from clsp.methods.aps import APS
    from clsp.methods.barlow import Barlow
    from clsp.methods.byol import BYOL
    from clsp.methods.dino import DINO
    from clsp.methods.moco import MoCo
    from clsp.methods.mocov3 import MoCoV3
    from clsp.methods.nnclr import NNCLR
    from clsp.methods.ressl import ReSSL
    from clsp.methods.simclr import SimCLR
    from clsp.methods.simsiam import SimSiam
    from clsp.methods.supcon import SupCon
    from clsp.methods.swav import SwAV
    from clsp.methods.vicreg import VICReg

    g, h, norm = config.projector, config.predictor, config.batch_norm
    methods: dict[str, Callable[[], Method]] = {
        "simclr": lambda: SimCLR(encoder, g, config.simclr, batch_norm=norm),
        "moco": lambda: MoCo(encoder, g, config.moco, batch_norm=norm, seed=seed),
        "mocov3": lambda: MoCoV3(encoder, g, h, config.mocov3, batch_norm=norm),
        "byol": lambda: BYOL(encoder, g, h, config.byol, batch_norm=norm),
        "simsiam": lambda: SimSiam(encoder, g, h, batch_norm=norm),
        "nnclr": lambda: NNCLR(encoder, g, h, config.nnclr, batch_norm=norm, seed=seed),
        "all4one": lambda: All4One(encoder, g, h, config.all4one, batch_norm=norm, seed=seed),
        "barlow": lambda: Barlow(encoder, g, config.barlow, batch_norm=norm),
        "vicreg": lambda: VICReg(encoder, g, config.vicreg, batch_norm=norm),
        "swav": lambda: SwAV(encoder, g, config.swav, batch_norm=norm, seed=seed),
        "dino": lambda: DINO(encoder, g, config.dino, batch_norm=norm),
        "ressl": lambda: ReSSL(encoder, g, config.ressl, batch_norm=norm, seed=seed),
        "aps": lambda: APS(encoder, g, h, config.aps, batch_norm=norm, seed=seed),
        "supcon": lambda: SupCon(encoder, g, config.supcon, batch_norm=norm),
    }
    return methods[config.method]()
