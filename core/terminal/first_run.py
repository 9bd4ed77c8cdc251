"""Which model a chat starts with when nobody said: what was chosen before, what answers, or a choice of three."""

from __future__ import annotations

import os
import sys

from core.config import Settings, data_directory
from core.errors import ChatError, ConnectFailed, ModelNotFound, ProviderError
from core.model_manager import Providers, Target, build_model_list, chosen, parse_target, resolve_target
from core.safe_text import safe_line
from core.terminal.interrupts import Interrupted, Interrupts

REMEMBERED = "model"   # file in the data directory: the answer to the choice, as provider/model
DEMO = Target("demo", "demo")
ENTER_SECONDS = 0.4    # how long after a key an Enter still belongs to it


def first_target(settings: Settings, providers: Providers, interrupts: Interrupts, *, ask: bool) -> tuple[Target, str]:
    """The model to start with, and a notice when it is not what a person would expect.

    `ask`: there is a person at a terminal. Without one, raises an error that names the ways out.
    """
    target = build_model_list(settings)[0]
    if target.model or chosen(settings):
        return interrupts.run(resolve_target(target, providers)), ""
    remembered = read_remembered(settings)
    if remembered is not None and (ask or remembered != DEMO):
        notice = _remembered_notice(settings, remembered) if ask else ""
        return remembered, _demo_notice() if remembered == DEMO else notice
    try:
        return interrupts.run(resolve_target(target, providers)), ""
    except (ConnectFailed, ModelNotFound) as error:
        with_key = first_with_key(settings, providers)
        if with_key is not None:
            found, variable = with_key
            return found, f"{found} answers, because {variable} is set and no Ollama server has a model. /model chooses another."
        if not ask:
            raise no_model(error) from error
        return choose(settings, providers, interrupts, error)


def first_with_key(settings: Settings, providers: Providers) -> tuple[Target, str] | None:
    """The first provider whose key is in the environment, and the variable that holds it."""
    from core.providers.hosts import hosts
    for host in hosts():
        for variable in host.key_variables:
            if host.kind == "cloud" and host.default_model and settings.environment.get(variable, "").strip():
                return Target(host.name, host.default_model), variable
    return None


def no_model(error: ProviderError) -> ProviderError:
    """The three ways out as three lines, for a pipe."""
    from core.engine.models import DEFAULT
    return ProviderError(
        f"{error.message.rstrip('.')}. Start Ollama (`ollama serve`), or set a key and name its --provider,",
        f"or run a small model here: --provider local --model {DEFAULT.name} (fetches {DEFAULT.size / 1e9:.1f} GB once),\n"
        "or look round without a model: stream-chat --provider demo")


# ---- the choice of three

def choose(settings: Settings, providers: Providers, interrupts: Interrupts, error: ProviderError) -> tuple[Target, str]:
    """One screen, one key. The answer is remembered."""
    from core.engine.models import DEFAULT
    offer = f"{DEFAULT.name}, {DEFAULT.size / 1e9:.1f} GB, {DEFAULT.licence}"
    _tell(f"No model is set up yet: {safe_line(error.message, 120)}\n\n"
          f"  1  download a small model and run it here ({offer})\n"
          "  2  use a server or a key: how to set one up\n"
          "  3  look round with the demo: scripted replies, no model\n")
    while True:
        key = read_key("1, 2 or 3 > ")
        if key == "1":
            local = fetch_default(providers, interrupts)
            if local is not None:
                remember(settings, local)
                return local, ""
        elif key == "2":
            from core.argument_parser import started_as
            _tell("A server: start Ollama (`ollama serve`), or name its address with OLLAMA_HOST or --base-url; then start again.\n"
                  "A key: set e.g. OPENAI_API_KEY or ANTHROPIC_API_KEY, or store one:\n"
                  f"  {started_as()} --set-key openai\n"
                  f"  {started_as()} --list-providers     names all")
            raise SystemExit(0)
        elif key == "3":
            remember(settings, DEMO)
            return DEMO, _demo_notice()
        elif key in ("q", "\x03", "\x04"):
            raise KeyboardInterrupt
        else:
            _tell("Press 1, 2 or 3; q or Ctrl-C leaves.")


def fetch_default(providers: Providers, interrupts: Interrupts) -> Target | None:
    """Download the default model with a progress bar; None when that did not work out, which has been said."""
    from core.engine.models import DEFAULT
    from core.errors import describe
    from core.terminal.pull_progress import STOPPED, show_progress
    target = Target("local", DEFAULT.name)
    try:
        interrupts.run(show_progress(sys.stdout, target, providers))
    except Interrupted:
        print(STOPPED)
        return None
    except ChatError as error:
        print(describe(error))
        return None
    return target


def _remembered_notice(settings: Settings, target: Target) -> str:
    path = os.path.join(data_directory(settings.environment), REMEMBERED)
    return f"{target} was chosen at the first start. /model or --provider chooses another; `rm {path}` asks again."


def _demo_notice() -> str:
    return ("This is the built-in demo: scripted replies, no model. To talk to a model, start Ollama (`ollama serve`) "
            "or name a --provider.")


def read_key(prompt: str) -> str:
    """One key without Enter, echoed; a line where the terminal cannot do that. The terminal is left as it was.

    An Enter out of habit is waited for a moment and dropped, so that it does not answer the next question.
    """
    try:
        import select
        import termios
        import tty

        from core.terminal.line_input import wait_until_typed
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError):
        _say(prompt)
        line = sys.stdin.readline()
        return line.strip()[:1] if line else "\x04"
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)   # before the question is seen: a key pressed at once is an answer to it
        _say(prompt)
        wait_until_typed(descriptor)
        key = os.read(descriptor, 1).decode("ascii", "replace") or "\x04"
        select.select([descriptor], [], [], ENTER_SECONDS)
        termios.tcflush(descriptor, termios.TCIFLUSH)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
    _say(f"{safe_line(key.strip())}\n")
    return key.strip() if key not in ("\x03", "\x04") else key


def _tell(text: str) -> None:
    """In lines that are broken between words."""
    from core.rendering.listing import fitted
    _say(f"{fitted(text, sys.stdout)}\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


# ---- what was chosen before

def read_remembered(settings: Settings) -> Target | None:
    try:
        with open(os.path.join(data_directory(settings.environment), REMEMBERED), encoding="utf-8") as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return parse_target(text) if "/" in text else None


def remember(settings: Settings, target: Target) -> None:
    """Best effort: a choice that cannot be written is asked again. Nothing is written with --no-save."""
    directory = data_directory(settings.environment)
    if not settings.save:
        return
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with open(os.path.join(directory, REMEMBERED), "w", encoding="utf-8") as file:
            file.write(f"{target}\n")
    except OSError:
        return
