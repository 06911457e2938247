"""Which values do not go together: said before the first stage runs, not hours later."""

from __future__ import annotations

from clsp.encoders.backbone import build_backbone, require_views, stem_for
from clsp.encoders.tokens import require_vit
from clsp.errors import UserError
from clsp.images.imageset import Images
from clsp.methods import METHODS
from clsp.methods.base import Method
from clsp.positives.source import Source
from clsp.training.config import PretrainConfig


def needs_bank(config: PretrainConfig) -> bool:
    """Return whether the training reads a bank."""
    source = config.positive.chosen
    return config.extra or (source is not None and source.needs_bank)


def shows_generated(config: PretrainConfig) -> bool:
    """Return whether generated images are trained on, which cost what the generator costs."""
    source = config.positive.chosen
    return config.extra or (source is not None and source.generated)


def sees_labels(config: PretrainConfig) -> bool:
    """Return whether the training sees the labels: an upper bound, never a rival."""
    source = config.positive.chosen
    return METHODS[config.method].sees_labels or (source is not None and source.needs_labels)


def check_together(config: PretrainConfig, images: Images) -> None:
    """Refuse what method, positives, views and backbone cannot do together.

    Raises:
        UserError: names the option and what is allowed.
    """
    method, chosen = METHODS[config.method], config.positive
    require_views(config.backbone, images.size, config.augment)
    if config.augment.local_crops and not method.multi_crop:
        takers = " and ".join(name for name, known in METHODS.items() if known.multi_crop)
        raise UserError(
            f"--pretrain.augment.local_crops {config.augment.local_crops}: {config.method} has two whole views alone; "
            f"local crops are for {takers} (of several methods: per_method '{{swav: {{augment: {{local_crops: 6}}}}}}')"
        )
    source = chosen.chosen
    if source is None:
        return
    if source.needs_labels and images.train.labels is None:
        raise UserError(f"positives '{chosen.source}' need labels, and this source has none")
    if chosen.placement == "host":
        _check_host(config, method, source)


def _check_host(config: PretrainConfig, method: type[Method], source: Source) -> None:
    chosen, third = config.positive, "choose --pretrain.positive.placement third"
    if not source.one_anchor:
        raise UserError(f"positives '{chosen.source}' belong to two anchors, and placement host pulls to one; {third}")
    if source.level == "embedding" and not method.takes_neighbours:
        raise UserError(f"method {config.method} takes no embedding in its second view's place; {third}")
    if chosen.host.weigh == "loss" and not method.weighs_pairs:
        raise UserError(
            f"method {config.method} cannot weigh pairs; choose --pretrain.positive.host.weigh chance, "
            "or placement third"
        )


def check_backbone(config: PretrainConfig, images: Images) -> None:
    """Refuse a backbone that cannot be built, or that the method does not suit.

    Raises:
        UserError: names the option and what is allowed.
    """
    backbone = config.backbone
    stem = stem_for(backbone, images.size)
    model = build_backbone(backbone.name, backbone.args, channels=images.channels, size=images.size, stem=stem)
    if METHODS[config.method].patches:
        require_vit(model)
