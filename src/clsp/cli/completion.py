"""What a shell needs to complete commands, options and their values. Nothing heavy is imported here.

The scripts are static: completing a word starts no Python.
"""

from __future__ import annotations

from collections.abc import Iterator

from clsp.cli.help import FIRST
from clsp.cli.table import COMMANDS, MEANINGS, Command

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
_clsp() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  elif [ "${{word#-}}" != "$word" ]; then
    case "${{COMP_WORDS[1]}}" in
{options}
    esac
  else
    case "${{COMP_WORDS[1]}} $previous" in
{values}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _clsp clsp
"""
"""Where no word is found, ``-o default`` completes files."""


def script(shell: str) -> str:
    """The script that a shell reads.

    Args:
        shell: one of `SHELLS`.
    """
    if shell == "fish":
        return "\n".join(["complete -c clsp -f -n __fish_use_subcommand", *_fish()]) + "\n"
    prelude = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    options = [f'      {name}) words="{" ".join(_options(command))}" ;;' for name, command in COMMANDS.items()]
    values = [
        f'      "{name} --{option}") words="{" ".join(words)}" ;;'
        for name, command in COMMANDS.items()
        for option, words in _values(command).items()
    ]
    return prelude + _BASH.format(commands=" ".join(COMMANDS), options="\n".join(options), values="\n".join(values))


def _options(command: Command) -> list[str]:
    """The command's own options, then its recipe's, those of its section with and without the prefix."""
    found = [*command.required, *command.optional, "help"]
    if command.recipe:
        names = [option for option, _ in _settings(command)]
        short = [name.removeprefix(f"{command.section}.") for name in names]
        found += ["help-all", *(name for name in short if name not in names), *names]
    return [f"--{name}" for name in dict.fromkeys(found)]


def _values(command: Command) -> dict[str, list[str]]:
    """The words that an option may have, by its name; options without a list of words are left out."""
    found = {}
    if command.recipe:
        from clsp.recipes.names import recipe_names

        for name, kind in _settings(command):
            if words := _words(kind):
                found[name] = found[name.removeprefix(f"{command.section}.")] = words
        found["recipe"] = recipe_names(command.task)
        found |= {"method": found["pretrain.method"]} if "method" in command.optional else {}
    return found


def _words(kind: str) -> list[str]:
    """``one of a, b or null`` -> a, b, null."""
    if kind == "true or false":
        return ["true", "false"]
    listed = kind.removeprefix("one of ")
    return [] if listed == kind else listed.replace(" or ", ", ").split(", ")


def _settings(command: Command) -> Iterator[tuple[str, str]]:
    from clsp.settings.describe import describe

    for option in describe(command.settings):
        if not option.name.startswith("about."):
            yield option.name, option.kind


def _fish() -> Iterator[str]:
    """A line for each command, each of its own options, and those of the recipe that matter first."""
    for name, command in COMMANDS.items():
        yield f"complete -c clsp -n __fish_use_subcommand -a {name} -d {_quoted(command.summary)}"
        seen = f"complete -c clsp -n '__fish_seen_subcommand_from {name}' -l"
        for option in (*command.required, *command.optional):
            yield f"{seen} {option} {'' if option in command.flags else '-r '}-d {_quoted(MEANINGS[option])}"
        values = _values(command)
        for option in FIRST.get(name, "").split():
            words = values.get(option)
            yield f"{seen} {option} " + (f"-x -a {_quoted(' '.join(words))}" if words else "-r")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
