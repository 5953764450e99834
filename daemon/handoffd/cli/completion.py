"""`handoffd completion`: the script by which a shell completes handoffd's commands and options.

It owns the list of shells; the script and the answers come from typer, out of the same parser that runs the commands.
The rule that must stay true: nothing is installed; where a script belongs is the shell's, or a package's, business.
"""

import os
from enum import StrEnum

import typer
from typer.completion import completion_init, get_completion_script  # type: ignore[attr-defined]

VARIABLE = "_HANDOFFD_COMPLETE"
"""With this in the environment the command line is not run: a shell asks how it could go on."""


class Shell(StrEnum):
    """The shells a script can be had for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def register(app: typer.Typer) -> None:
    """Add the command, and answers to a shell that asks."""
    app.command("completion")(completion)
    if VARIABLE in os.environ:
        completion_init()


def completion(
    shell: Shell = typer.Argument(help="The shell that is to complete.", show_default=False),
) -> None:
    """Print the script that lets a shell complete commands and options.

    \b
    bash: handoffd completion bash > ~/.local/share/bash-completion/completions/handoffd
    zsh: handoffd completion zsh > DIRECTORY/_handoffd, a directory of your fpath
    fish: handoffd completion fish > ~/.config/fish/completions/handoffd.fish
    """
    script: str = get_completion_script(prog_name="handoffd", complete_var=VARIABLE, shell=shell)
    print(script.replace(_ZSH_REGISTERS, _ZSH_REGISTERS_OR_COMPLETES))


_ZSH_REGISTERS = "compdef _handoffd_completion handoffd"
# typer's script is made to be sourced. As a file of the fpath, zsh runs it to complete: the first TAB would do nothing.
_ZSH_REGISTERS_OR_COMPLETES = f"""\
if [[ $funcstack[1] == _handoffd ]]; then
  _handoffd_completion "$@"
else
  {_ZSH_REGISTERS}
fi"""
