"""Text from a command line and nested mappings become typed values."""

from __future__ import annotations

import pytest

from clsp.errors import UserError
from clsp.recipes.recipe import Recipe
from clsp.settings.describe import as_text, describe
from clsp.settings.values import build, flat, merge, nested, options_of, plain

OPTIONS = list(describe(Recipe))


def value_of(config, name):
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("pretrain.lr", "0.1", 0.1),
        ("pretrain.lr", "1e-1", 0.1),
        ("pretrain.lr", "1", 1.0),
        ("pretrain.lr", 1, 1.0),
        ("pretrain.epochs", "3", 3),
        ("pretrain.precision", "32", "32"),
        ("pretrain.precision", 32, "32"),
        ("pretrain.precision", "auto", "auto"),
        ("pretrain.extra", "true", True),
        ("pretrain.extra", "false", False),
        ("controls", True, True),
        ("images.size", "null", None),
        ("images.size", None, None),
        ("images.size", "28", 28),
        ("images.channels", "3", 3),
        ("images.channels", "null", None),
        ("diffusion.widths", "[8, 16]", [8, 16]),
        ("diffusion.attention", "[]", []),
        ("pretrain.augment.crop_scale", "[0.2, 1]", [0.2, 1.0]),
        ("pretrain.backbone.args", "{layers: [1, 1, 1, 1]}", {"layers": [1, 1, 1, 1]}),
        ("pretrain.backbone.args", {"depth": 2}, {"depth": 2}),
        ("pretrain.backbone.name", "vit_tiny", "vit_tiny"),
        ("pretrain.projector.batch_norm", "null", None),
        ("pretrain.projector.batch_norm", "true", True),
        ("pretrain.gradient_clip", "1e-2", 0.01),
        ("pretrain.positive.source", "null", None),
        ("pretrain.positive.source", "bank", "bank"),
        ("per_method", "{moco: {lr: 0.2}}", {"moco": {"lr": 0.2}}),
        ("hardware.loggers", "[wandb]", ["wandb"]),
        ("about.title", "12", "12"),
        ("about.title", 12, "12"),
        ("about.title", "a: b [c", "a: b [c"),
        ("about.title", "true", "true"),
    ],
)
def test_a_value_is_read_as_its_settings_type_wants_it(name, text, value):
    read = value_of(build(Recipe, nested({name: text})), name)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pretrain": {"lrr": 1}}, "unknown option --pretrain.lrr; did you mean '--pretrain.lr'?"),
        (
            {"pretrain": {"augment": {"hu": 1}}},
            "unknown option --pretrain.augment.hu; did you mean '--pretrain.augment.hue'",
        ),
        ({"prtrain": {"lr": 1}}, "unknown option --prtrain; did you mean '--pretrain.lr'?"),
        (
            {"pretrain": {"moco": {"memry": 1}}},
            "unknown option --pretrain.moco.memry; did you mean '--pretrain.moco.memory'",
        ),
        ({"pretrain": 3}, "unknown option --pretrain"),
        ({"hue": 1}, "unknown option --hue; did you mean '--pretrain.augment.hue'?"),
        ({"pretrain": {"positive": {"source": "bnk"}}}, "--pretrain.positive.source 'bnk' is not one of"),
        ({"pretrain": {"backbone": {"args": "{depth:1}"}}}, "--pretrain.backbone.args '{depth:1}' must be a mapping"),
        ({"diffusion": {"widths": ["a"]}}, "--diffusion.widths 'a' must be a whole number"),
        ({"pretrain": {"epochs": "yes"}}, "--pretrain.epochs 'yes' must be a whole number"),
        ({"pretrain": {"epochs": True}}, "--pretrain.epochs 'true' must be a whole number"),
        ({"pretrain": {"lr": "true"}}, "--pretrain.lr 'true' must be a number"),
        ({"pretrain": {"lr": "1:30.5"}}, "--pretrain.lr '1:30.5' must be a number"),
        ({"pretrain": {"epochs": "1:30"}}, "--pretrain.epochs '1:30' must be a whole number"),
        ({"diffusion": {"widths": "[8, 1:30]"}}, "--diffusion.widths '1:30' must be a whole number"),
        ({"diffusion": {"widths": "[8, on]"}}, "--diffusion.widths 'true' must be a whole number"),
        ({"diffusion": {"widths": [8, True]}}, "--diffusion.widths 'true' must be a whole number"),
        *(
            ({"pretrain": {"epochs": text}}, "--pretrain.epochs '")
            for text in ("2024-13-45", "0b_", "9" * 5000, "[" * 3000, "!!int", "!!timestamp x", "{[1]: 2}")
        ),
    ],
)  # fmt: skip
def test_what_is_unknown_or_wrong_in_a_section_is_one_line(given, words):
    with pytest.raises(UserError) as error:
        build(Recipe, given)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_of_two_values_the_later_one_holds_and_a_mapping_that_is_a_value_stays_whole():
    first = {"pretrain": {"lr": 1, "backbone": {"args": {"a": 1}}}, "seed": 1}
    second = {"pretrain": {"backbone": {"args": {"b": 2}}, "epochs": 3}}
    merged = {"pretrain": {"lr": 1, "epochs": 3, "backbone": {"args": {"b": 2}}}, "seed": 1}
    assert merge(Recipe, first, second) == merged
    assert merge(Recipe, second, first)["pretrain"]["backbone"]["args"] == {"a": 1}
    dotted = {"pretrain.lr": 1, "pretrain.epochs": 3, "pretrain.backbone.args": {"b": 2}, "seed": 1}
    assert flat(merged, Recipe) == dotted
    assert nested(dotted) == merged


def test_settings_as_plain_values_make_the_same_settings():
    recipe = build(Recipe, {"pretrain": {"lr": "0.3", "method": "moco"}, "diffusion": {"widths": "[8, 16]"}})
    assert build(Recipe, plain(recipe)) == recipe
    assert sorted(flat(plain(recipe), Recipe)) == sorted(name for name, _, _ in options_of(Recipe))


# --- every option of a recipe ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_says_what_it_means_and_what_it_takes(option):
    assert option.meaning.endswith((".", ")", "]", "}")), option.meaning
    assert option.kind
    assert option.section


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_default_as_help_shows_it_is_read_back(option):
    shown = as_text(option.default)
    assert option.lines()[0] == f"  --{option.name} {shown}".rstrip()
    typed = "" if shown == "''" else shown
    assert value_of(build(Recipe, nested({option.name: typed})), option.name) == option.default
    assert value_of(Recipe(), option.name) == option.default
