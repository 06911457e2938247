"""Every recipe parses, fits the data it is named for, and builds its networks."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from clsp.encoders.backbone import build_backbone, stem_for
from clsp.errors import UserError
from clsp.images.imageset import Images, Split
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


@pytest.mark.parametrize("name", recipe_names())
def test_resolved_recipe_is_a_recipe(name, tmp_path):
    """The recipe.yaml of a run repeats it."""
    recipe = parse_recipe(name, ["--seed=3"])
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
