"""Help: a dozen options first, all of them on demand; and what arguments become."""

from __future__ import annotations

import re

import pytest

from clsp.cli.calls import parse_call
from clsp.cli.help import FIRST, help_of
from clsp.cli.table import COMMANDS, MEANINGS, METAVARS
from clsp.errors import UserError
from clsp.settings.values import options_of

TAKES_A_RECIPE = [name for name, command in COMMANDS.items() if command.recipe]


def options(name):
    """The options of the recipes that a command takes."""
    return [option for option, _, _ in options_of(COMMANDS[name].settings) if not option.startswith("about.")]


def listed(text):
    """The options that a help lists, those of the recipe alone."""
    return re.findall(r"^  --(\S+)", text.partition("\nrecipes: ")[2], re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_the_screen_and_explains_its_own_options(name):
    text = help_of(name)
    assert text.split("\n")[0].split(" ")[:3] == ["usage:", "clsp", name]
    assert max(map(len, text.splitlines())) <= 120
    for option in (*COMMANDS[name].required, *COMMANDS[name].optional):
        assert METAVARS[option] in text
        assert MEANINGS[option] in text


@pytest.mark.parametrize("name", TAKES_A_RECIPE)
def test_help_lists_what_matters_first_and_says_where_the_rest_is(name):
    text = help_of(name)
    assert 4 <= len(listed(text)) <= 14
    assert len(listed(text)) == len(FIRST[name].split())
    assert f"clsp {name} --help-all lists all {len(options(name))} options" in text


@pytest.mark.parametrize("name", TAKES_A_RECIPE)
def test_help_all_lists_every_option_the_commands_own_section_first(name):
    text = help_of(name, ["--help-all"])
    assert sorted(listed(text)) == sorted(options(name))
    assert max(map(len, text.splitlines())) <= 200
    section = COMMANDS[name].section
    if section is not None:
        assert listed(text)[0].startswith(f"{section}.")


def test_an_option_has_its_meaning_and_its_range():
    text = " ".join(help_of("run", ["--help-all"]).split())
    assert "--pretrain.simclr.temperature 0.2 tau of NT-Xent. (a number above 0)" in text
    assert "--pretrain.positive.third.weight 1.0 lambda of the term" in text


@pytest.mark.parametrize("arguments", [["--recipe", "smoke"], ["--recipe=smoke"]])
def test_help_has_the_values_of_the_recipe_that_is_named(arguments):
    assert "  --pretrain.epochs 1000\n" in help_of("run")
    text = help_of("run", arguments)
    assert "options of the recipe smoke," in text
    assert "  --pretrain.epochs 3\n" in text


# --- arguments -------------------------------------------------------------------------------------------------------

PRETRAIN = ("--data", "digits", "--out", "r")


def test_arguments_become_nested_settings():
    call = parse_call("pretrain", [*PRETRAIN, "--lr", "-1", "--augment.hue=0.2", "--seed", "3", "--method", "moco"])
    assert call.own == {"data": "digits", "out": "r"}
    assert call.overrides == {
        "pretrain": {"lr": "-1", "augment": {"hue": "0.2"}, "method": "moco"}, "seed": "3",
    }  # fmt: skip


def test_an_option_of_a_command_with_a_section_may_have_hyphens_and_stand_with_its_prefix():
    data = ("--data", "digits", "--diffusion", "d", "--out", "b")
    call = parse_call("synthesize", [*data, "--interpolation-weight", "0.2", "--synthesize.steps", "5"])
    assert call.overrides == {"synthesize": {"interpolation_weight": "0.2", "steps": "5"}}


def test_a_switch_needs_no_value():
    for given in (["--controls"], ["--controls=true"], ["--controls", "true"]):
        assert parse_call("run", [*PRETRAIN, *given, "--seed", "1"]).overrides == {"controls": "true", "seed": "1"}
    assert parse_call("run", [*PRETRAIN, "--controls", "false"]).overrides == {"controls": "false"}


def test_an_option_of_a_command_that_is_switched_off_is_off():
    assert parse_call("verify", ["x", "--repair"]).own == {"repair": "true"}
    assert parse_call("verify", ["x", "--repair=true"]).own == {"repair": "true"}
    assert parse_call("verify", ["x", "--repair=false"]).own == {}


def test_the_method_of_a_run_is_the_one_of_its_pretraining():
    call = parse_call("run", [*PRETRAIN, "--method", "byol", "--pretrain.lr", "1"])
    assert call.overrides == {"pretrain": {"method": "byol", "lr": "1"}}


def test_a_suggestion_comes_from_the_commands_section_first():
    with pytest.raises(UserError, match=r"--epoch; did you mean '--pretrain.epochs'\?"):
        parse_call("pretrain", [*PRETRAIN, "--epoch", "1"])
    with pytest.raises(UserError, match=r"--step; did you mean '--synthesize.steps'\?"):
        parse_call("synthesize", ["--diffusion", "d", *PRETRAIN, "--step", "1"])
    with pytest.raises(UserError, match=r"--step; did you mean '--diffusion.steps'\?"):
        parse_call("diffusion", [*PRETRAIN, "--step", "1"])
