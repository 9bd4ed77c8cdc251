"""--completion and --widget: shell scripts generated from the table of settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from core.argument_parser import first_part
from core.config import SETTINGS, Settings
from core.config.setting import Setting
from core.config.pages import page_names
from core.providers.hosts import hosts

# value names of options that take files
FILES = ("FILE", "PATH", "SOURCE,...", "DIRECTORY")
PROGRAM = "stream-chat"


def run(settings: Settings) -> int:
    """Print the script, whose first lines say how to use it."""
    if settings.completion is not None:
        print({"bash": bash, "zsh": zsh, "fish": fish}[settings.completion]())
    elif settings.widget is not None:
        print(WIDGETS[settings.widget])
    return 0


def words_after(row: Setting) -> list[str] | None:
    """Return the values of an option; None if they are files, [] if they are arbitrary."""
    if row.metavar in FILES:
        return None
    if row.name in ("provider", "set_key"):
        return [host.name for host in hosts()]
    if row.name in ("session", "export_session", "delete_session"):
        return ["last"]
    return [*page_names(), "topics"] if row.name == "help" else list(row.choices)


def flags_of(row: Setting) -> list[str]:
    """Return the flags of an option, including its --no- form."""
    if row.kind is bool and row.in_file:
        return [*row.flags, *(f"--no-{flag[2:]}" for flag in row.flags if flag.startswith("--"))]
    return list(row.flags)


# ---- bash

def bash() -> str:
    cases, flags = [], []
    for row in SETTINGS:
        flags += flags_of(row)
        if row.kind is bool:
            continue
        words = words_after(row)
        found = ("$(compgen -f -- \"$cur\")" if words is None
                 else f"$(compgen -W '{' '.join(words)}' -- \"$cur\")")
        cases.append(f"        {'|'.join(row.flags)}) COMPREPLY=({found}); return ;;")
    return "\n".join(("# bash: put this line into ~/.bashrc:",
                      f"#   eval \"$({PROGRAM} --completion bash)\"",
                      "_stream_chat() {", "    local cur=${COMP_WORDS[COMP_CWORD]} "
                      "prev=${COMP_WORDS[COMP_CWORD-1]}",
                      "    COMPREPLY=()", "    case $prev in", *cases, "    esac",
                      f"    [[ $cur == -* ]] && COMPREPLY=($(compgen -W '{' '.join(flags)}' -- "
                      "\"$cur\"))", "}",
                      f"complete -o default -F _stream_chat {PROGRAM}"))


# ---- zsh

def zsh() -> str:
    return "\n".join((f"#compdef {PROGRAM}", "# zsh: put this line into ~/.zshrc, after compinit:",
                      f"#   eval \"$({PROGRAM} --completion zsh)\"", "_stream_chat() {",
                      "  _arguments -s \\",
                      *(f"    {line} \\" for row in SETTINGS for line in _zsh_lines(row)),
                      "    '*:question:_files'", "}", f"compdef _stream_chat {PROGRAM}"))


def _zsh_lines(row: Setting) -> Iterator[str]:
    told = _closed(first_part(row.help)).replace("\\", "").replace("'", r"'\''")
    told = told.replace("[", "(").replace("]", ")").replace(":", " -")
    words = words_after(row)
    values = "_files" if words is None else f"({' '.join(words)})" if words else " "
    optional = ":" if row.value_if_bare is not None else ""
    value = "" if row.kind is bool else f":{optional}{row.metavar.replace(':', '-')}:{values}"
    for flag in flags_of(row):
        yield f"'*{flag}[{told}]{value}'"


# ---- fish

def fish() -> str:
    return "\n".join(("# fish: save this as ~/.config/fish/completions/stream-chat.fish",
                      *(line for row in SETTINGS for line in _fish_lines(row))))


def _fish_lines(row: Setting) -> Iterator[str]:
    flags = flags_of(row)
    names = [f"-s {flag[1:]}" if len(flag) == 2 else f"-l {flag[2:]}" for flag in flags]
    words = words_after(row)
    value = ("" if row.kind is bool else " -r -F" if words is None
             else f" -x -a '{' '.join(words)}'" if words else " -x")
    told = _closed(first_part(row.help)).replace("\\", "").replace("'", r"\'")
    for name in names:
        yield f"complete -c {PROGRAM} {name}{value} -d '{told}'"


def _closed(text: str) -> str:
    """Return text without an unclosed bracket left by shortening."""
    opened = text.rfind("(")
    return text[:opened].rstrip() if opened > text.rfind(")") else text


# ---- the key binding that writes commands

WISH = ("Write one command line for {shell} on {system} that does what the user asks for. "
        "Answer with the command alone, in one block of code, without an explanation.")
_BASH = r"""# bash: put this line into ~/.bashrc:
#   eval "$(stream-chat --widget bash)"
# Then type what you want to do and press Ctrl-X Ctrl-A: it becomes a command on the line.
# Nothing is run.
_stream_chat_widget() {
    [[ -n $READLINE_LINE ]] || return
    local found
    if found=$(stream-chat --no-save --extract=1 --system '%s' -- "$READLINE_LINE" </dev/null) \
            && [[ -n $found ]]; then
        READLINE_LINE=$found
        READLINE_POINT=${#READLINE_LINE}
    fi
}
bind -x '"\C-x\C-a": _stream_chat_widget'"""
_ZSH = r"""# zsh: put this line into ~/.zshrc:
#   eval "$(stream-chat --widget zsh)"
# Then type what you want to do and press Ctrl-X Ctrl-A: it becomes a command on the line.
# Nothing is run.
_stream_chat_widget() {
    [[ -n $BUFFER ]] || return
    local found
    if found=$(stream-chat --no-save --extract=1 --system '%s' -- "$BUFFER" </dev/null) \
            && [[ -n $found ]]; then
        BUFFER=$found
        CURSOR=${#BUFFER}
    fi
    zle reset-prompt
}
zle -N _stream_chat_widget
bindkey '^X^A' _stream_chat_widget"""
_FISH = r"""# fish: put this line into ~/.config/fish/config.fish:
#   stream-chat --widget fish | source
# Then type what you want to do and press Ctrl-X Ctrl-A: it becomes a command on the line.
# Nothing is run.
function _stream_chat_widget
    set -l wish (commandline)
    test -n "$wish"; or return
    set -l found (stream-chat --no-save --extract=1 --system '%s' -- "$wish" </dev/null \
        | string collect)
    and test -n "$found"; and commandline -r -- $found
    commandline -f repaint
end
bind \cx\ca _stream_chat_widget"""
WIDGETS = {shell: script % WISH.format(shell=shell, system=sys.platform)
           for shell, script in (("bash", _BASH), ("zsh", _ZSH), ("fish", _FISH))}
