"""Arms: a method, its positives, where they stand and what pulls them, in one word."""

from __future__ import annotations

import pytest

from clsp.errors import UserError
from clsp.recipes.arms import Arm, parse_arm, parse_arms
from clsp.recipes.fit import needs_generator
from clsp.recipes.recipe import load_recipe
from clsp.settings.values import nested


def recipe_with(name=None, **overrides):
    """A recipe with options by their dotted names; __ stands for the dot."""
    return load_recipe(name, nested({option.replace("__", "."): value for option, value in overrides.items()}))


def encoder(recipe, arm):
    return recipe.pretraining(parse_arm(arm))


@pytest.mark.parametrize(
    ("text", "arm"),
    [
        ("simclr", Arm("simclr")),
        ("simclr+bank", Arm("simclr", "bank")),
        ("moco+bank+nt_xent", Arm("moco", "bank", objective="nt_xent")),
        ("moco+nearest+host", Arm("moco", "nearest", placement="host")),
        ("byol+bank+third", Arm("byol", "bank", placement="third")),
        ("byol+bank+third+nt_xent", Arm("byol", "bank", placement="third", objective="nt_xent")),
        ("simclr+bank+frames", Arm("simclr", "bank", also="frames")),
        ("simclr+bank+view+host", Arm("simclr", "bank", also="view", placement="host")),
        ("simclr+extra", Arm("simclr", extra=True)),
        ("diffusion", Arm("diffusion")),
    ],
)
def test_an_arm_is_read_and_written(text, arm):
    assert parse_arm(text) == arm
    assert arm.name == text
    assert arm.trains == (text != "diffusion")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("simclrr", "'simclrr' is not one of .*did you mean 'simclr'"),
        ("simclr+bnk", "'bnk' is not one of .*extra; did you mean 'bank'"),
        ("simclr+bank+hots", "'hots' is not one of .*did you mean 'host'"),
        ("simclr+bank+host+third", "'host' and 'third' are two of one kind"),
        ("simclr+bank+view+nearest", "'view' and 'nearest' are two of one kind"),
        ("simclr+nt_xent", "'nt_xent' is not one of"),
        ("simclr+extra+host", "extra has no additional positive"),
        ("simclr+bank+", "'' is not one of"),
    ],
)
def test_an_arm_that_is_none_is_one_line(text, words):
    with pytest.raises(UserError, match=words) as error:
        parse_arm(text)
    assert str(error.value).startswith(f"arm '{text}': ")
    assert "\n" not in str(error.value)


def test_arms_are_separated_by_commas_and_each_stands_there_once():
    assert [arm.name for arm in parse_arms("simclr, simclr+bank,")] == ["simclr", "simclr+bank"]
    with pytest.raises(UserError, match="'simclr' is named twice"):
        parse_arms("simclr,moco,simclr")
    with pytest.raises(UserError, match="no arm is named"):
        parse_arms(" , ")


def test_an_objective_of_an_arms_own_pulls_a_third_view_also_where_the_recipe_places_the_positive_in_the_host():
    recipe = recipe_with(pretrain__positive__placement="host")
    assert encoder(recipe, "simclr+bank").positive.placement == "host"
    pulled = encoder(recipe, "simclr+bank+nt_xent").positive
    assert (pulled.placement, pulled.objective) == ("third", "nt_xent")


def test_the_controls_are_the_method_alone_and_a_third_view():
    assert [arm.name for arm in recipe_with("smoke").arms()] == ["simclr+bank"]
    assert [arm.name for arm in recipe_with("smoke", controls="true").arms()] == [
        "simclr+bank",
        "simclr",
        "simclr+view",
    ]
    in_place = recipe_with("smoke", controls="true", pretrain__positive__placement="host")
    assert [arm.name for arm in in_place.arms()] == ["simclr+bank", "simclr"]
    assert recipe_with(pretrain__positive__source="nearest", pretrain__method="moco").arm == Arm("moco", "nearest")


def test_an_arm_that_is_its_own_control_stands_there_once():
    recipe = recipe_with("smoke", controls="true", pretrain__positive__source="view")
    assert [arm.name for arm in recipe.arms()] == ["simclr+view", "simclr"]
    assert not needs_generator(recipe, recipe.arms())
    assert needs_generator(recipe, [Arm("simclr"), Arm("simclr", extra=True)])
    assert needs_generator(recipe, [Arm("diffusion")])


def test_a_recipe_names_two_sources_and_the_controls_have_neither():
    made = load_recipe("smoke", nested({"pretrain.positive.also": "nearest", "controls": True}))
    assert [arm.name for arm in made.arms()] == ["simclr+bank+nearest", "simclr", "simclr+view"]
    assert encoder(made, "simclr+view").positive.also is None
    assert encoder(made, "simclr+bank+nearest").positive.also == "nearest"
