"""Pretraining: which method, with which positives, for how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from clsp.encoders.config import BackboneConfig, PredictorConfig, ProjectorConfig
from clsp.errors import UserError
from clsp.images.config import AugmentConfig
from clsp.methods.config import (
    MULTI_CROP,
    All4OneConfig,
    APSConfig,
    BarlowConfig,
    BatchNormMode,
    BYOLConfig,
    DINOConfig,
    MethodName,
    MoCoConfig,
    MoCoV3Config,
    NNCLRConfig,
    ReSSLConfig,
    SimCLRConfig,
    SupConConfig,
    SwAVConfig,
    VICRegConfig,
)
from clsp.positives.config import PositivesName

ObjectiveName = Literal["alignment", "nt_xent", "host"]
"""What pulls the additional positive, see `PretrainConfig.positive_objective`."""

OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)


@dataclass(kw_only=True)
class PretrainConfig:
    """Pretraining; the defaults are CLSP-SimCLR's for CIFAR, and MoCo's own settings stand in its section."""

    method: MethodName = "simclr"
    """The method: a source, an objective and heads."""
    images: int | None = None
    """Train images that serve as anchors, chosen at random by the seed; null: all (with a bank: all of the bank)."""
    positive_weight: float = 1.0
    """lambda of the term lambda * mean(2 - 2 cos) that the additional positive adds; with ``host`` the odds that it
    stands in the second view's place."""
    positive_objective: ObjectiveName = "alignment"
    """What lambda weighs. alignment: mean(2 - 2 cos), the paper's; nt_xent: NT-Xent of anchor and positive, which the
    other images of the batch repel; host: the method's own objective. With host the positive is no third view: it
    takes the second view's place for lambda / (1 + lambda) of a step's anchors, and a pair's own weight is a factor of
    that chance; a step costs no more than without."""
    positive_temperature: float = 0.2
    """tau of that NT-Xent."""
    positive_schedule: Literal["constant", "cosine"] = "constant"
    """lambda over the training: constant (the paper), or falling along half a cosine to 0."""
    positive_trim: float = 0.0
    """Share of a batch's pairs, those whose positive lies farthest from its anchor, that are not pulled together."""
    positive_pairs: str | None = None
    """For positives 'pairs': a CSV file with the columns first and second, names of images, and perhaps weight."""
    positive_window: int = 10
    """For positives 'frames': how many frames two frames of a video may be apart; the farther, the less they count."""
    batch_norm: BatchNormMode = "joint"
    """Whose images share BatchNorm statistics: joint: all views; split: the additional positive apart from the two
    real views; views: each view by itself."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    simclr: SimCLRConfig = field(default_factory=SimCLRConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    moco: MoCoConfig = field(default_factory=MoCoConfig)
    mocov3: MoCoV3Config = field(default_factory=MoCoV3Config)
    byol: BYOLConfig = field(default_factory=BYOLConfig)
    nnclr: NNCLRConfig = field(default_factory=NNCLRConfig)
    all4one: All4OneConfig = field(default_factory=All4OneConfig)
    barlow: BarlowConfig = field(default_factory=BarlowConfig)
    vicreg: VICRegConfig = field(default_factory=VICRegConfig)
    swav: SwAVConfig = field(default_factory=SwAVConfig)
    dino: DINOConfig = field(default_factory=DINOConfig)
    ressl: ReSSLConfig = field(default_factory=ReSSLConfig)
    aps: APSConfig = field(default_factory=APSConfig)
    supcon: SupConConfig = field(default_factory=SupConConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    epochs: int = 1000
    """Passes over the anchors."""
    batch_size: int = 1024
    """Anchors a step, over all processes together."""
    optimizer: Literal["sgd", "lars", "adamw"] = "sgd"
    """SGD with momentum, LARS (SGD with a rate for each layer, timm's), or AdamW."""
    lr: float = 0.5
    """Learning rate, for this batch size (it is not rescaled)."""
    momentum: float = 0.9
    """Momentum of SGD and LARS."""
    weight_decay: float = 1e-4
    """Weight decay; of SGD and AdamW on all parameters, of LARS not on biases and BatchNorm."""
    warmup_epochs: float = 10.0
    """Epochs in which the learning rate rises; then a cosine takes it to 0."""
    gradient_clip: float | None = None
    """Largest norm of the gradient; null: no clipping."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """auto: bf16 autocast where the hardware has bf16 arithmetic, else 32 bit."""
    log_every: int = 10
    """Steps between two lines of metrics.jsonl."""
    knn_every: int = 10
    """Epochs between two online kNN readings on held-out train images (needs labels); 0: none."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints."""


def check_positives(positives: PositivesName, config: PretrainConfig) -> None:
    """Refuse positives that these settings cannot serve.

    Raises:
        UserError: a mixture in the second view's place, where the method would pull it to one of its two anchors alone.
    """
    if positives == "mixture" and config.positive_objective == "host":
        raise UserError(
            "positives 'mixture' belong to two anchors, and positive_objective host pulls to one; "
            "choose alignment or nt_xent"
        )


def check_crops(config: PretrainConfig) -> None:
    """Refuse local crops for a method that would not look at them.

    Raises:
        UserError: names the methods that take them.
    """
    if config.augment.local_crops and config.method not in MULTI_CROP:
        raise UserError(
            f"--pretrain.augment.local_crops {config.augment.local_crops}: {config.method} has two whole views alone; "
            f"local crops are for {' and '.join(MULTI_CROP)} (of several methods: per_method "
            "'{swav: {augment: {local_crops: 6}}}')"
        )
