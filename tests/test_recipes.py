"""Every recipe parses, fits the data it is named for, and builds its networks."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from clsp.encoders.backbone import build_backbone, stem_for
from clsp.errors import UserError
from clsp.images.imageset import Images, Split
from clsp.methods.config import NAMES
from clsp.recipes.limits import check_fit, check_values
from clsp.recipes.options import expand, flat_options, known_options, parse_recipe
from clsp.recipes.recipe import flatten, read_recipe, recipe_for, recipe_names, resolved
from clsp.recipes.sizing import size_to_data

DATA = {
    "smoke": (400, 1, 16), "digits": (1442, 1, 8), "fashion-mnist": (60_000, 1, 28), "folder": (3000, 3, 64),
    "cifar10": (50_000, 3, 32), "cifar100": (50_000, 3, 32), "stl10": (105_000, 3, 96),
    "imagenet100": (126_689, 3, 224),
}  # fmt: skip
"""Train images, channels and size of what each recipe is for; the recipe's own size of images comes first."""


def images_like(count, channels, size):
    pixels = np.broadcast_to(np.uint8(0), (count, channels, size, size))
    return Images(source="like", train=Split(images=pixels, names=range(count)))


def recipe_on(name, count, size, *, accelerated=False):
    return parse_recipe(name, [], size_to_data(name, count, size, accelerated=accelerated))


def test_all_recipes_are_known_here():
    assert set(recipe_names()) == set(DATA)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_fits_its_data(name):
    count, channels, size = DATA[name]
    size = parse_recipe(name, []).images.size or size
    recipe = recipe_on(name, count, size)
    check_values(recipe)
    check_fit(recipe, images_like(count, channels, size), own_model=True)
    assert recipe.about.title
    assert recipe.about.time
    config = recipe.pretrain.backbone
    build_backbone(config.name, config.args, channels=channels, size=size, stem=stem_for(config, size))
    widths = recipe.diffusion.widths
    assert all(width % recipe.diffusion.norm_groups == 0 for width in widths)
    assert all(0 <= level < len(widths) for level in recipe.diffusion.attention)


@pytest.mark.parametrize("name", ["smoke", "folder"])
@pytest.mark.parametrize("count", [2, 3, 7, 33, 500, 20_000, 2_000_000])
@pytest.mark.parametrize("size", [8, 28, 96, 224])
@pytest.mark.parametrize("accelerated", [False, True])
def test_sized_recipes_fit_any_data(name, count, size, accelerated):
    recipe = recipe_on(name, count, size, accelerated=accelerated)
    check_values(recipe)
    check_fit(recipe, images_like(count, 3, size), own_model=True)
    config = recipe.pretrain
    for method in (config.moco, config.nnclr, config.all4one):
        assert method.memory <= max(count // 2, 32)


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("method", ["simclr", "moco"])
def test_resolved_recipe_is_a_recipe(name, method, tmp_path):
    """The recipe.yaml of a run repeats it."""
    recipe = parse_recipe(name, ["--seed=3", f"--pretrain.method={method}"])
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"recipe": name, "versions": {}, **resolved(recipe)}))
    assert parse_recipe(str(path), []) == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_file_names_known_options(name):
    known = known_options()
    assert set(flatten(read_recipe(name), known)) <= set(known)


def test_the_sources_own_recipe():
    assert recipe_for("digits") == "digits"
    assert recipe_for("cifar10") == "cifar10"
    assert recipe_for("mnist") == "folder"
    assert recipe_for("./photos") == "folder"


def test_the_order_of_precedence():
    assert parse_recipe(None, []).pretrain.epochs == 1000
    assert parse_recipe("smoke", []).pretrain.epochs == 3
    assert parse_recipe("smoke", [], {"pretrain.epochs": 4}).pretrain.epochs == 4
    assert parse_recipe("smoke", ["--pretrain.epochs", "5"], {"pretrain.epochs": 4}).pretrain.epochs == 5


def test_options_in_a_section_and_with_hyphens():
    assert expand(["--interpolation-weight", "0.2"], "synthesize") == ["--synthesize.interpolation_weight", "0.2"]
    assert expand(["--controls", "--seed=1"], None) == ["--controls=true", "--seed=1"]
    assert expand(["--controls", "false"], None) == ["--controls", "false"]
    with pytest.raises(UserError, match=r"--pretrain\.lr"):
        expand(["--prtrain.lr", "1"], None)


def test_every_limit_is_of_a_known_option():
    """A renamed option must not lose its limit."""
    from clsp.recipes import limits, recipe

    named = (*limits._AT_LEAST, *limits._ABOVE_ZERO, *limits._SHARES, *limits._LISTS, *limits._PAIRS)
    assert set(named) <= set(known_options())
    check_values(recipe.Recipe())
    assert flat_options(recipe.Recipe()) == known_options()


# --- settings of one method each -------------------------------------------------------------------------------------

PAPER = ("cifar10", "cifar100", "stl10", "imagenet100")


def test_a_method_has_its_own_settings():
    """CLSP-MoCo's and CLSP-SimCLR's, as the released code has them; what one sets does not reach the other."""
    recipe = parse_recipe("cifar10", ["--pretrain.method", "moco"])
    moco, simclr = recipe.pretrain, recipe.pretraining("simclr")
    assert (moco.lr, moco.batch_size, moco.positive_weight, moco.batch_norm) == (0.3, 512, 0.5, "views")
    assert (moco.augment.solarize, moco.augment.saturation, moco.augment.brightness) == (0.2, 0.2, 0.4)
    assert simclr == parse_recipe("cifar10", []).pretrain
    assert (simclr.lr, simclr.batch_size, simclr.positive_weight, simclr.batch_norm) == (0.5, 1024, 1.0, "joint")
    assert (simclr.augment.solarize, simclr.augment.saturation) == (0.0, 0.4)
    for config in (moco, simclr):
        assert (config.projector.hidden, config.projector.dim, config.epochs) == (4096, 256, 1000)
        assert (config.optimizer, config.momentum, config.weight_decay, config.warmup_epochs) == ("sgd", 0.9, 1e-4, 10)
    assert moco.moco.memory == 32768
    assert parse_recipe("cifar100", ["--pretrain.method", "moco"]).pretrain.positive_weight == 0.2


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("chosen", ["simclr", "moco", "nnclr"])
def test_a_method_is_the_same_whatever_was_chosen(method, chosen):
    """An arm of a comparison has the settings that a run of its method has."""
    alone = parse_recipe("cifar10", ["--pretrain.method", method]).pretrain
    assert parse_recipe("cifar10", ["--pretrain.method", chosen]).pretraining(method) == alone


@pytest.mark.parametrize("name", PAPER)
def test_no_method_falls_back_on_simclrs_settings(name):
    recipe = parse_recipe(name, [])
    assert set(recipe.per_method) == set(NAMES) - {"simclr"}
    assert recipe.pretraining("nnclr").optimizer == "lars"
    check_values(recipe)


def test_the_command_line_holds_for_all_methods():
    recipe = parse_recipe("cifar10", ["--pretrain.lr", "0.1", "--pretrain.method=moco"])
    assert {recipe.pretraining(method).lr for method in NAMES} == {0.1}
    assert recipe.pretrain.batch_size == 512
    one = parse_recipe("cifar10", ["--per_method", "{moco: {lr: 0.2, moco: {memory: 64}}}", "--pretrain.lr", "0.1"])
    assert (one.pretraining("moco").lr, one.pretraining("moco").moco.memory, one.pretrain.lr) == (0.2, 64, 0.1)


def test_an_arm_has_its_own_settings():
    """They go before those of its method, and stay with it whatever method was chosen."""
    own = ["--per_method", "{moco: {lr: 0.2}, moco+bank: {lr: 0.1}, simclr+bank: {lr: 0.3, augment: {hue: 0.5}}}"]
    recipe = parse_recipe(None, own)
    arms = [("moco", "none"), ("moco", "bank"), ("moco", "view"), ("simclr", "bank"), ("simclr", "none")]
    alone = recipe.pretrain.lr
    assert [recipe.pretraining(*arm).lr for arm in arms] == [0.2, 0.1, 0.2, 0.3, alone]
    assert recipe.pretraining("simclr", "bank").augment.hue == 0.5
    chosen = parse_recipe(None, [*own, "--pretrain.method", "moco"])
    assert [chosen.pretraining(*arm).lr for arm in arms] == [0.2, 0.1, 0.2, 0.3, alone]


def test_the_command_line_holds_for_all_arms(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("per_method: {simclr+bank: {lr: 0.3}}")
    assert parse_recipe(str(path), []).pretraining("simclr", "bank").lr == 0.3
    assert parse_recipe(str(path), ["--pretrain.lr", "0.1"]).pretraining("simclr", "bank").lr == 0.1


def test_values_of_a_method_have_the_option_s_type():
    recipe = parse_recipe(None, ["--per_method", "{byol: {lr: '1e-1', backbone.args: {layers: [1, 1, 1, 1]}}}"])
    assert recipe.pretraining("byol").lr == 0.1
    assert recipe.pretraining("byol").backbone.args == {"layers": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{mocco: {lr: 1}}", "per_method: 'mocco' is not one of simclr.*did you mean 'moco'"),
        ("{moco: {lrr: 1}}", "per_method moco: 'lrr' is no option of the section pretrain; did you mean 'lr'"),
        ("{moco: {moco: {memry: 1}}}", "per_method moco: 'moco.memry'.*did you mean 'moco.memory'"),
        ("{moco: {method: byol}}", "per_method moco: 'method' is no option"),
        ("{moco: {lr: fast}}", "per_method moco: --pretrain.lr 'fast' is not valid: expected a number"),
        ("{moco: {lr: -1}}", "per_method moco: --pretrain.lr -1.0 must be above 0"),
        ("{moco: 3}", "per_method"),
        ("{moco+bnk: {lr: 1}}", "per_method: 'bnk' is not one of view.*did you mean 'bank'"),
        ("{moco+bank+hst: {lr: 1}}", "per_method: 'hst' is not one of alignment, nt_xent, host.*did you mean 'host'"),
        ("{moco+: {lr: 1}}", "per_method: '' is not one of view"),
        ("{moco+bank: {lr: -1}}", r"per_method moco\+bank: --pretrain.lr -1.0 must be above 0"),
    ],
)
def test_wrong_settings_of_a_method(given, words):
    with pytest.raises(UserError, match=words) as error:
        check_values(parse_recipe(None, ["--per_method", given]))
    assert "\n" not in str(error.value)
