"""The program's table of contents: reads what was asked for and hands it to the part that does it."""

from __future__ import annotations

import os
import sys

from core.argument_parser import help_text, parse_arguments, started_as
from core.config import Settings, data_directory
from core.errors import ChatError, UsageError, describe, unexpected
from core.safe_text import safe_text
from core.setup.standard_streams import OUTPUT_LOST, flush, lose_output, prepare_streams, read_stdin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.chat.conversation import Chat
    from core.session_manager import Session
    from core.setup.store import OpenedStore
    from core.terminal.interrupts import Interrupts
    from core.terminal.screen import Screen
    from core.tool_executor import Toolbox

EXIT_INTERRUPTED = 130
NAMES_A_MODEL = frozenset({"model", "provider", "base_url"})    # flags; without, a session goes on with the model that it had
NOT_EVERYWHERE = frozenset({"num_ctx", "keep_alive", "seed", "stop", "api_version"})    # flags that some providers have no use for


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code. Errors are told in at most three lines on standard error."""
    words = sys.argv[1:] if argv is None else list(argv)
    prepare_streams()
    try:
        code = dispatch(parse_arguments(words, os.environ))
    except ChatError as error:
        _tell(error, as_json="--json" in words)
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno in OUTPUT_LOST:
            code = lose_output(problem)
        else:
            _tell(unexpected(problem), as_json="--json" in words)
            code = 1
    return flush() or code


def dispatch(settings: Settings) -> int:
    """One thing after the other that the program can be asked to do."""
    if settings.help:
        from shutil import get_terminal_size
        print(help_text(min(110, max(60, get_terminal_size((100, 24)).columns))))
        return 0
    if settings.version:
        from core import __version__
        print(f"stream-chat {__version__}")
        return 0
    if settings.debug:
        _log_to(settings)
    if settings.self_test:
        from core.engine.self_test import run_self_test
        return run_self_test(sys.stdout.write, settings.environment, engine=settings.engine)
    for notice in settings.notices:
        print(notice, file=sys.stderr)
    if settings.list_providers or settings.list_models or settings.check or settings.set_key or settings.pull:
        from core.command_line.providers import act_on_providers
        return act_on_providers(settings)
    if settings.list_sessions or settings.stats or settings.export_session or settings.delete_session:
        from core.command_line.sessions import act_on_sessions
        return act_on_sessions(settings)
    prompt = read_prompt(settings)
    return talk(settings, prompt)


# ---- talking

def read_prompt(settings: Settings) -> str:
    """The question: the words on the command line, then what stands on standard input if that is not a terminal."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty() or settings.select_session:   # which reads its choice there
        return str(settings.prompt)
    if pipes_context(settings):
        if not settings.prompt:
            raise UsageError("There is nothing to ask: standard input is context, and there is no prompt.",
                             'Try: cat notes.md | stream-chat --context - "what is open?"')
        return str(settings.prompt)
    text = read_stdin()
    prompt = f"{settings.prompt}\n\n{text}" if settings.prompt and text.strip() else str(settings.prompt or text)
    if not prompt.strip():
        if settings.session or settings.continue_:
            raise UsageError("Going on with a session needs a terminal to chat in, or a question.",
                             'Try: stream-chat --continue "and then?"')
        raise UsageError("There is nothing to ask: no prompt, and standard input is empty.",
                         'Try: stream-chat "why is the sky blue?", or start it in a terminal to chat.')
    return prompt


def talk(settings: Settings, prompt: str) -> int:
    """One answer, or a chat in the terminal."""
    if not prompt and not sys.stdout.isatty():
        flag = next((flag for flag in ("select_session", "session", "continue_") if getattr(settings, flag)), "")
        if flag:
            raise UsageError(f"--{flag.rstrip('_').replace('_', '-')} needs a terminal to chat in, or a question.",
                             'Try: stream-chat --continue "and then?"')
        raise UsageError("There is nothing to ask: no prompt, and the output is not a terminal.",
                         'Try: stream-chat "why is the sky blue?"')
    from core.setup.store import OpenedStore, tell_unsaved
    from core.terminal.interrupts import Interrupted, Interrupts
    interrupts = Interrupts()
    opened = OpenedStore(settings)
    try:
        chat = open_chat(settings, interrupts, opened, one_answer=bool(prompt))
        try:
            (chat.news if prompt else opened.news).extend(attach(settings, chat, interrupts))
            if not prompt:
                return converse(settings, chat, interrupts, opened)
            for line in opened.news:
                print(_fitted(safe_text(line)), file=sys.stderr)
            return answer(settings, chat, interrupts, prompt)
        except Interrupted:
            return EXIT_INTERRUPTED
        finally:
            interrupts.run(chat.close())
            chat.session.close()
            tell_unsaved(chat.session, again=not prompt)
    finally:
        opened.close()
        interrupts.close()


def open_chat(settings: Settings, interrupts: Interrupts, opened: OpenedStore, *, one_answer: bool) -> Chat:
    """Session, model and tools, put together."""
    from core.chat.conversation import Chat
    from core.model_manager import Providers, parse_target
    from core.terminal.first_run import first_target
    session = opened.session(settings)
    providers = Providers(settings)
    if settings.modelfile:
        from core.command_line.providers import make_model
        target, notice = interrupts.run(make_model(settings, providers)), ""
    elif session.model and not settings.flags & NAMES_A_MODEL:
        target, notice = parse_target(session.model, known=settings.providers), ""
    else:
        target, notice = first_target(settings, providers, interrupts, ask=not one_answer)
        providers.host(target.provider)    # refused now, and not when the question is saved already
    if notice:
        opened.news.append(notice)
    if settings.flags & NOT_EVERYWHERE:
        from core.providers.parameters import check_flags
        check_flags(settings, target.provider, providers.host(target.provider).dialect)
    toolbox = open_toolbox(settings, session, opened) if wants_tools(settings) else None
    return Chat(settings, session, providers, target, open_session=opened.open_session, toolbox=toolbox,
                make_toolbox=lambda: open_toolbox(settings, session, opened))


def wants_tools(settings: Settings) -> bool:
    """Whether anything asks for tools: without, nothing of them is loaded."""
    servers = settings.mcp and (settings.mcp_servers or settings.mcp_config)
    return bool(settings.experimental or settings.experimental_websearch or settings.tools or settings.tools_file or servers)


def open_toolbox(settings: Settings, session: Session, opened: OpenedStore) -> Toolbox:
    """The tools that this run offers to the model."""
    from core.setup.store import store_place
    from core.setup.tools import make_toolbox
    from core.terminal.approval import SavedGrants
    grants = SavedGrants(os.path.join(data_directory(settings.environment), "grants.json")) if settings.save else None
    return make_toolbox(settings, opened.store, session.id, place=store_place(settings), grants=grants)


def attach(settings: Settings, chat: Chat, interrupts: Interrupts) -> list[str]:
    """Attach what --context names, and the files that the question on the command line names as @path.

    Returns what the person should know. Raises ContextError when something gave nothing at all.
    """
    if not settings.context and "@" not in settings.prompt:
        return []
    from core.terminal.progress_line import ProgressLine
    chat.piped = read_stdin() if pipes_context(settings) else ""
    able = sys.stderr.isatty() and settings.environment.get("TERM", "") not in ("", "dumb")
    chat.progress = ProgressLine(sys.stderr, able=able)
    if sys.stdin is not None and sys.stdin.isatty():
        chat.agrees = _agrees
    notes = [note for value in settings.context for note in interrupts.run(chat.attach(value))]
    return notes + interrupts.run(chat.attach_mentions(settings.prompt))


def pipes_context(settings: Settings) -> bool:
    """Whether what is piped in is context, and not the question."""
    return any(part.strip() == "-" for value in settings.context for part in value.split(","))


async def _agrees(command: str) -> bool:
    """Ask whether a command may run. Anything but a clear yes is a no."""
    from core.terminal.line_input import drop_typed, read_line
    from core.terminal.typeahead import echoed
    try:
        with echoed(sys.stdin.fileno()):
            drop_typed(sys.stdin)
            print(f"Run this, and attach what it prints?\n  {safe_text(command)}\n[y/N] ", end="", file=sys.stderr, flush=True)
            return (await read_line(sys.stdin)).strip().lower() in ("y", "yes")
    except BaseException:
        print(file=sys.stderr)      # what comes next starts on a line of its own
        raise


def answer(settings: Settings, chat: Chat, interrupts: Interrupts, prompt: str) -> int:
    """One answer to where standard output leads."""
    from core.command_line.one_answer import answer_as_json, answer_as_text, answer_in_terminal
    from core.messages import user_message
    message = user_message(prompt)
    if settings.json:
        return answer_as_json(chat, message, interrupts, sys.stdout)
    if not sys.stdout.isatty():
        return answer_as_text(chat, message, interrupts, sys.stdout, sys.stderr)
    return answer_in_terminal(chat, message, interrupts, open_screen(settings, chat), sys.stderr)


def converse(settings: Settings, chat: Chat, interrupts: Interrupts, opened: OpenedStore) -> int:
    """The chat in the terminal."""
    from core.terminal.loop import greet, run_chat
    from core.terminal.prompt import open_reader
    screen = open_screen(settings, chat)
    greet(chat, screen, [*opened.news, *opened.offers(chat.session.id)])
    run_chat(chat, screen, interrupts, open_reader(settings, screen))
    return 0


def open_screen(settings: Settings, chat: Chat) -> Screen:
    """The terminal, to write to and, where somebody can type, to ask in."""
    from core.terminal.screen import Screen
    screen = Screen(sys.stdout, settings)
    if sys.stdin is not None and sys.stdin.isatty():
        from core.terminal.approval import TerminalApproval
        chat.approve = TerminalApproval(screen)
        chat.agrees = _agrees
    if chat.progress is None:
        from core.terminal.progress_line import ProgressLine
        chat.progress = ProgressLine(sys.stderr, able=sys.stderr.isatty() and not screen.dumb)
    return screen


def _tell(error: ChatError, *, as_json: bool) -> None:
    if as_json:
        import json

        from core.events import Failed, to_dict
        print(json.dumps(to_dict(Failed(error))))
    else:
        text = describe(error).replace("stream-chat -", f"{started_as()} -").replace('stream-chat "', f'{started_as()} "')
        print(_fitted(text), file=sys.stderr)


def _fitted(text: str) -> str:
    """Broken between words where it goes to a terminal."""
    if not sys.stderr.isatty():
        return text
    from core.rendering.listing import fitted
    return fitted(text, sys.stderr)


def _log_to(settings: Settings) -> None:
    """A log in which no key stands, whoever wrote it there."""
    import logging

    from core.config.keys import hide, known_secrets
    secrets = known_secrets(settings.environment, settings.providers)

    class Scrubbed(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return hide(super().format(record), secrets)

    try:
        handler = logging.FileHandler(settings.debug, encoding="utf-8")
    except OSError as problem:
        raise UsageError(f"The log {settings.debug} cannot be written: {problem.strerror}.") from problem
    handler.setFormatter(Scrubbed("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG)
