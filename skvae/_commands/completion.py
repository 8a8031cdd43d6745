"""``skvae --completion``: what shells complete command lines by, from the parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from skvae._commands import certify, run
from skvae._commands.parsing import OneLineParser

__all__ = ["main", "script"]

BASH = """\
_skvae() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=run at=${{COMP_WORDS[1]}}
    if [[ $COMP_CWORD -gt 1 && $at == certify ]]; then command=certify; fi
    COMPREPLY=()
    case $command$before in
{choices}
    esac
    if [[ $word == -* ]]; then
        case $command in
{options}
        esac
    elif [[ $COMP_CWORD == 1 ]]; then
        COMPREPLY=($(compgen -W "run certify" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _skvae skvae
"""


def main(arguments: Sequence[str]) -> int:
    """Print the script for a shell."""
    parser = OneLineParser(
        prog="skvae --completion",
        description="Print what a shell completes the command line by, as in: "
        "skvae --completion bash >> ~/.bashrc",
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
    print(script(parser.parse_args(arguments).shell), end="")
    return 0


def script(shell: str) -> str:
    """Return the script for a shell, ``"bash"``, ``"zsh"`` or ``"fish"``."""
    parsers = {"run": run.parser(), "certify": certify.parser()}
    if shell == "fish":
        return "".join(_for_fish(name, parser) for name, parser in parsers.items())
    choices, options = [], []
    for name, parser in parsers.items():
        flags = [flag for action in _options(parser) for flag in action.option_strings]
        options.append(_case(name, flags, "word", 12))
        choices += [
            _case(f"{name}{flag}", map(str, action.choices), "word", 8) + "; return;;"
            for action in _options(parser)
            if action.choices
            for flag in action.option_strings
        ]
    whole = BASH.format(
        choices="\n".join(choices), options="\n".join(f"{each};;" for each in options)
    )
    # What bash is completed by, zsh takes too.
    start = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
    return start + whole if shell == "zsh" else whole


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _case(pattern: str, words: Iterable[str], name: str, indent: int) -> str:
    listed = " ".join(words)
    return f'{" " * indent}{pattern}) COMPREPLY=($(compgen -W "{listed}" -- "${name}"))'


def _for_fish(name: str, parser: argparse.ArgumentParser) -> str:
    there = (
        "__fish_seen_subcommand_from certify"
        if name == "certify"
        else "not __fish_seen_subcommand_from certify"
    )
    lines = [f"complete -c skvae -n __fish_use_subcommand -f -a {name}"]
    for action in _options(parser):
        flags = " ".join(
            f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            for flag in action.option_strings
        )
        taken = "" if action.nargs == 0 else " -r"
        if action.choices:
            taken = f' -x -a "{" ".join(map(str, action.choices))}"'
        said = (action.help or "").split(" (default")[0].replace("'", "").replace("%", "")
        lines.append(f"complete -c skvae -n '{there}' {flags}{taken} -d '{said}'")
    return "\n".join(lines) + "\n"
