"""What identifies a result: the settings that decide it, and none that change nothing in it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Annotated

import pytest

from clsp.diffusion.config import DiffusionConfig
from clsp.encoders.config import BackboneConfig, PredictorConfig, ProjectorConfig
from clsp.images.config import AugmentConfig, ImagesConfig
from clsp.methods import METHODS
from clsp.objectives import OBJECTIVES
from clsp.positives.config import SynthesizeConfig
from clsp.positives.sources import SOURCES
from clsp.settings import Count, Incidental, settings
from clsp.settings.identity import identity, is_incidental
from clsp.settings.values import flat, options_of
from clsp.training.config import PositiveConfig, PretrainConfig

CLASSES = [
    DiffusionConfig, SynthesizeConfig, PretrainConfig, PositiveConfig, ImagesConfig, AugmentConfig, BackboneConfig,
    ProjectorConfig, PredictorConfig, *(made.Settings for _, made in METHODS.items()),
]  # fmt: skip
INCIDENTAL = {
    # What stands in a file is named by its fingerprint.
    DiffusionConfig: {"condition", "sample_every", "checkpoint_minutes", "weights"},
    SynthesizeConfig: {"batch_size", "shard_anchors", "precision", "gate"},
    PretrainConfig: {"log_every", "knn_every", "checkpoint_minutes", "positive.pairs.file", "weights"},
    ImagesConfig: {"store"},
    PositiveConfig: {"pairs.file"},
}


@pytest.mark.parametrize("config", CLASSES, ids=lambda config: config.__name__)
def test_all_settings_but_the_incidental_ones_and_those_not_chosen_identify_a_result(config):
    made = config()
    incidental = {name for name, owner, item in options_of(config) if is_incidental(owner, item.name)}
    assert incidental == INCIDENTAL.get(config, set())
    unused = made.unused() if hasattr(made, "unused") else set()
    found = identity(made)
    assert set(found) == {item.name for item in fields(config)} - incidental - unused
    for name, value in found.items():
        assert isinstance(value, dict) == (is_dataclass(getattr(made, name)) or isinstance(getattr(made, name), dict))
    assert identity(made, usual=True) == found


def test_an_incidental_setting_changes_nothing_and_another_one_does():
    base = identity(PretrainConfig())
    assert identity(PretrainConfig(log_every=3, knn_every=0, checkpoint_minutes=1)) == base
    assert identity(PretrainConfig(lr=0.1)) != base
    assert identity(DiffusionConfig(sample_every=0)) == identity(DiffusionConfig())


@pytest.mark.parametrize("method", METHODS.names())
def test_only_the_chosen_methods_section_counts(method):
    found = identity(PretrainConfig(method=method))
    assert set(found) & set(METHODS.names()) == ({method} if fields(METHODS[method].Settings) else set())


def placed(**changes):
    return set(identity(PretrainConfig(positive=PositiveConfig(**changes)))["positive"])


def test_only_the_chosen_values_of_the_additional_positive_count():
    assert placed() == set()
    assert placed(placement="host", objective="nt_xent") == set()
    assert placed(source="bank") == {"source", "also", "placement", "objective", "third"} | sections(
        "bank", "alignment"
    )
    pulled = placed(source="view", objective="nt_xent")
    assert pulled == {"source", "also", "placement", "objective", "third", "nt_xent"}
    assert placed(source="bank", placement="host") == {"source", "also", "placement", "host"} | sections("bank")
    both = placed(source="view", also="frames", placement="host")
    assert both == {"source", "also", "placement", "host"} | sections("view", "frames")


def sections(*names):
    return {name for name in names if name in {item.name for item in fields(PositiveConfig)}}


def test_a_section_that_was_not_chosen_may_change():
    base = identity(PretrainConfig())
    other = PretrainConfig(moco=METHODS["moco"].Settings(memory=64))
    assert identity(other) == base


def test_the_usual_values_are_the_defaults():
    config = PretrainConfig(lr=0.1, projector=ProjectorConfig(dim=8), positive=PositiveConfig(source="bank"))
    usual = identity(config, usual=True)
    assert (usual["lr"], usual["projector"]["dim"], usual["positive"]["source"]) == (0.5, 256, None)
    assert set(flat(usual, PretrainConfig)) == set(flat(identity(config), PretrainConfig))


@settings
class Inner:
    kept: Count = 1
    left: Annotated[Count, Incidental] = 1


@settings
class Outer:
    inner: Inner = None  # type: ignore[assignment]
    chosen: str = "a"
    a: Count = 1
    b: Count = 1

    def unused(self):
        return {"a", "b"} - {self.chosen}


def test_the_rules_hold_in_sections_as_well():
    assert identity(Outer(inner=Inner(left=3), chosen="b")) == {"inner": {"kept": 1}, "chosen": "b", "b": 1}


def test_every_member_with_settings_has_a_section():
    for registry, config, settings_of in (
        (METHODS, PretrainConfig, lambda made: made.Settings),
        (SOURCES, PositiveConfig, lambda made: made),
        (OBJECTIVES, PositiveConfig, lambda made: made),
    ):
        known = {item.name for item in fields(config)}
        for name, made in registry.items():
            assert (name in known) == bool(fields(settings_of(made)))
