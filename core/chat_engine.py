"""The program's table of contents: reads what was asked for and hands it to the part that does it."""

from __future__ import annotations

import errno
import os
import sys

from core.argument_parser import help_text, parse_arguments
from core.config import Settings, data_directory, temporary_directory
from core.errors import ChatError, StoreError, UsageError, describe, unexpected
from core.safe_text import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.conversation import Chat
    from core.interrupts import Interrupts
    from core.session_manager import Session
    from core.terminal import Screen
    from core.tool_executor import Toolbox
    from db import Store

EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141
NOT_EVERYWHERE = frozenset({"num_ctx", "keep_alive", "seed", "stop", "api_version"})    # flags that some providers have no use for
OUTPUT_LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO)    # the reader left, the disk is full, the terminal is gone


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code. Errors are told in at most three lines on standard error."""
    words = sys.argv[1:] if argv is None else list(argv)
    _prepare_streams()
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
            code = _lose_output(problem)
        else:
            _tell(unexpected(problem), as_json="--json" in words)
            code = 1
    return _flush() or code


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
        from core.provider_actions import act
        return act(settings)
    if settings.list_sessions:
        return show_sessions(settings)
    if settings.stats:
        return show_stats(settings)
    if settings.export_session:
        return export(settings)
    if settings.delete_session:
        return delete(settings)
    prompt = read_prompt(settings)
    return talk(settings, prompt)


# ---- saved sessions

def store_place(settings: Settings) -> str:
    return str(settings.database_url or "") or os.path.join(data_directory(settings.environment), "sessions.db")


def open_saved(settings: Settings) -> Store:
    from db import open_store
    return open_store(store_place(settings))


def unwritable(store: Store) -> str:
    """Why a store can only be read; empty when it can be written, as far as is known."""
    return str(getattr(store, "unwritable", ""))


def show_sessions(settings: Settings) -> int:
    from core.session_list import session_lines
    store = open_saved(settings)
    try:
        lines = session_lines(store, settings.limit, settings.prompt)
    finally:
        store.close()
    if not lines:
        print("No saved session holds these words." if settings.prompt else "There are no saved sessions yet.", file=sys.stderr)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def show_stats(settings: Settings) -> int:
    """The numbers of the model calls so far; with --json, as one object."""
    import time

    from core.stats_report import read_since, summarise
    now = time.time()
    since = read_since(settings.since or "", now)
    store = open_saved(settings)
    try:
        entries = summarise(store.calls(since))
    finally:
        store.close()
    if settings.json:
        import json
        print(json.dumps({"since": since or None, "models": [entry.to_dict() for entry in entries]}, ensure_ascii=False, indent=1))
        return 0
    from core.commands.stats import stats_table
    from core.provider_actions import show
    table = stats_table(entries, since, now)
    if isinstance(table, str):
        print(table, file=sys.stderr)
    else:
        show(settings, table)
    return 0


def export(settings: Settings) -> int:
    from core.exporters import export_session
    from core.safe_text import safe_line
    from core.session_manager import recover
    store = open_saved(settings)
    try:
        try:
            recover(store)
        except StoreError:
            pass   # what is whole can be read all the same
        export_session(store, settings.export_session, settings.format, settings.output, raw_csv=settings.csv_raw,
                       write=_write_safely if sys.stdout.isatty() else None)
    finally:
        store.close()
    if settings.output:
        print(f"Exported to {safe_line(settings.output)}", file=sys.stderr)
    return 0


def delete(settings: Settings) -> int:
    """Delete a session for ever, after a question where somebody can be asked, else only with --yes."""
    from core.safe_text import safe_line
    store = open_saved(settings)
    try:
        row = store.find_session(settings.delete_session)
        if not settings.yes and not (sys.stdin is not None and sys.stdin.isatty()):
            raise UsageError("Nobody can be asked whether to delete it: standard input is not a terminal.",
                             "--yes deletes it unasked.")
        told = f"Delete session {row.id} ({safe_line(row.title, 60)}; {row.message_count} messages) for ever? [y/N] "
        if not settings.yes and not _says_yes(told):
            print("Nothing is changed.", file=sys.stderr)
            return 1
        store.delete_session(row.id)
    finally:
        store.close()
    print(f"Session {row.id} is deleted.", file=sys.stderr)
    return 0


def _says_yes(question: str) -> bool:
    from core.line_input import ask
    try:
        return ask(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _write_safely(text: str) -> None:
    """A terminal is shown an export as it is shown everything else; a file and a pipe get it as it is."""
    sys.stdout.write(safe_text(text))


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
    from core.interrupts import Interrupted, Interrupts
    interrupts = Interrupts()
    opened = OpenedStore(settings)
    try:
        chat = open_chat(settings, interrupts, opened, one_answer=bool(prompt))
        try:
            (chat.news if prompt else opened.news).extend(attach(settings, chat, interrupts))
            if not prompt:
                return converse(settings, chat, interrupts, opened)
            for line in opened.news:
                print(safe_text(line), file=sys.stderr)
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


class OpenedStore:
    """The store of this run, or what stands in for it: none with --no-save, one that is tried again when it cannot be opened."""

    def __init__(self, settings: Settings) -> None:
        from core.spool import Places
        self.spool = Places(os.path.join(data_directory(settings.environment), "spool"), temporary_directory(settings.environment))
        self.store: Store | None = None
        self.news: list[str] = []         # what the person should know before they go on
        self.recovered: list[str] = []    # sessions whose last reply was cut off
        if not settings.save:
            return
        try:
            self.store = open_saved(settings)
        except StoreError as error:
            if settings.session or settings.continue_ or settings.select_session:
                raise
            from core.late_store import late_store
            self.store = late_store(store_place(settings))
            self.news.append(describe(error))
            return
        why = unwritable(self.store)
        if why:
            self.news.append(f"warning: saved sessions can be read, but nothing can be saved: {why}")
            return
        try:
            self._recover()
        except StoreError as error:
            self.news.append(describe(error))

    def _recover(self) -> None:
        """Save what a killed run left behind."""
        from core.session_manager import recover
        for entry in recover(self.store, self.spool) if self.store else ():
            self.recovered.append(entry.session_id)

    def offers(self, current: str) -> list[str]:
        """How to go on with what a killed run left behind, from the session `current`."""
        kept = "A reply that was cut off is kept as far as it came."
        return [f"{kept} /continue goes on with it; /drop takes it out." if identity == current
                else f"{kept} /session {identity} goes back to it; /continue and /drop work there." for identity in self.recovered]

    def open_session(self, name: str | None) -> Session:
        """The session of that ID, or a new one."""
        from core.session_manager import open_session
        return open_session(self.store, self.spool, name=name)

    def session(self, settings: Settings) -> Session:
        """The session that was asked for, or a new one."""
        from core.session_manager import open_session
        name: str | None = settings.session
        if settings.select_session:
            from core.line_input import ask
            from core.session_list import select_session
            from core.session_picker import pick
            if self.store is None:
                raise UsageError("--select-session and --no-save do not go together.")
            able = sys.stdin.isatty() and sys.stdout.isatty() and settings.environment.get("TERM", "") not in ("", "dumb")
            chooser = pick if able else select_session
            name = chooser(self.store, ask, lambda line: print(line, file=sys.stderr)).id
        return open_session(self.store, self.spool, name=name, newest=settings.continue_)

    def close(self) -> None:
        if self.store is not None:
            self.store.close()


def open_chat(settings: Settings, interrupts: Interrupts, opened: OpenedStore, *, one_answer: bool) -> Chat:
    """Session, model and tools, put together."""
    from core.conversation import Chat
    from core.first_run import first_target
    from core.model_manager import Providers, chosen, parse_target
    session = opened.session(settings)
    providers = Providers(settings)
    if settings.modelfile:
        from core.provider_actions import make_model
        target, notice = interrupts.run(make_model(settings, providers)), ""
    elif session.model and not chosen(settings):
        target, notice = parse_target(session.model, known=settings.providers), ""
    else:
        target, notice = first_target(settings, providers, interrupts, ask=not one_answer)
    if notice:
        opened.news.append(notice)
    if settings.flags & NOT_EVERYWHERE:
        from core.parameters import check_flags
        check_flags(settings, target.provider, providers.host(target.provider).dialect)
    toolbox = open_toolbox(settings, session, opened) if wants_tools(settings) else None
    return Chat(settings, session, providers, target, open_session=opened.open_session, toolbox=toolbox,
                make_toolbox=lambda: open_toolbox(settings, session, opened))


def tell_unsaved(session: Session, *, again: bool) -> None:
    """Say at the end what is not saved, and, where there is a person, offer to write what would be lost to a place they name.

    `again`: also what has been said and lies safely in a file.
    """
    words = session.last_words
    if not words or not session.lost and not again:
        return
    red, plain = ("\x1b[1;31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    print(f"{red}{safe_text(words)}{plain}", file=sys.stderr)
    if session.lost and sys.stdin is not None and sys.stdin.isatty():
        from core.exporters import rescue
        from core.line_input import ask
        rescue(session.id, session.title, session.model, session.messages, ask, lambda line: print(line, file=sys.stderr))


def wants_tools(settings: Settings) -> bool:
    """Whether anything asks for tools: without, nothing of them is loaded."""
    servers = settings.mcp and (settings.mcp_servers or settings.mcp_config)
    return bool(settings.experimental or settings.experimental_websearch or settings.tools or settings.tools_file or servers)


def open_toolbox(settings: Settings, session: Session, opened: OpenedStore) -> Toolbox:
    """The tools that this run offers to the model."""
    from core.approval import SavedGrants
    from core.tool_setup import make_toolbox
    grants = SavedGrants(os.path.join(data_directory(settings.environment), "grants.json")) if settings.save else None
    return make_toolbox(settings, opened.store, session.id, place=store_place(settings), grants=grants)


def attach(settings: Settings, chat: Chat, interrupts: Interrupts) -> list[str]:
    """Attach what --context names, and the files that the question on the command line names as @path.

    Returns what the person should know. Raises ContextError when something gave nothing at all.
    """
    if not settings.context and "@" not in settings.prompt:
        return []
    from core.progress_line import ProgressLine
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


def read_stdin() -> str:
    if sys.stdin is None or sys.stdin.closed:
        return ""
    content = sys.stdin.buffer.read()
    text = content.decode("utf-8", "replace")
    if "\ufffd" in text and "\ufffd".encode() not in content:
        print("note: standard input is not UTF-8; what could not be read was replaced by \ufffd", file=sys.stderr)
    return text


async def _agrees(command: str) -> bool:
    """Ask whether a command may run. Anything but a clear yes is a no."""
    from core.line_input import drop_typed, read_line
    from core.typeahead import echoed
    drop_typed(sys.stdin)
    print(f"Run this, and attach what it prints?\n  {safe_text(command)}\n[y/N] ", end="", file=sys.stderr, flush=True)
    with echoed(sys.stdin.fileno()):
        return (await read_line(sys.stdin)).strip().lower() in ("y", "yes")


def answer(settings: Settings, chat: Chat, interrupts: Interrupts, prompt: str) -> int:
    """One answer to where standard output leads."""
    from core.messages import user_message
    from core.pipe import answer_as_json, answer_as_text, answer_in_terminal
    message = user_message(prompt)
    if settings.json:
        return answer_as_json(chat, message, interrupts, sys.stdout)
    if not sys.stdout.isatty():
        return answer_as_text(chat, message, interrupts, sys.stdout, sys.stderr)
    return answer_in_terminal(chat, message, interrupts, open_screen(settings, chat), sys.stderr)


def converse(settings: Settings, chat: Chat, interrupts: Interrupts, opened: OpenedStore) -> int:
    """The chat in the terminal."""
    from core.terminal import greet, open_reader, run_chat
    screen = open_screen(settings, chat)
    greet(chat, screen, [*opened.news, *opened.offers(chat.session.id)])
    run_chat(chat, screen, interrupts, open_reader(settings, screen))
    return 0


def open_screen(settings: Settings, chat: Chat) -> Screen:
    """The terminal, to write to and, where somebody can type, to ask in."""
    from core.terminal import Screen
    screen = Screen(sys.stdout, settings)
    if sys.stdin is not None and sys.stdin.isatty():
        chat.approve = screen.approve
        chat.agrees = _agrees
    if chat.progress is None:
        from core.progress_line import ProgressLine
        chat.progress = ProgressLine(sys.stderr, able=sys.stderr.isatty() and not screen.dumb)
    return screen


# ---- the process

def _prepare_streams() -> None:
    """A character that the terminal's encoding lacks is shown as its code, not a crash. Closed streams lead nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _tell(error: ChatError, *, as_json: bool) -> None:
    if as_json:
        import json

        from core.events import Failed, to_dict
        print(json.dumps(to_dict(Failed(error))))
    else:
        text = describe(error)
        if sys.stderr.isatty():
            from core.rendering.listing import fitted
            text = fitted(text, sys.stderr)
        print(text, file=sys.stderr)


def _flush() -> int:
    """Write out what is left. 0, or the exit code for output that nobody takes."""
    try:
        sys.stdout.flush()
    except ValueError:
        return 0
    except OSError as problem:
        return _lose_output(problem)
    return 0


def _lose_output(problem: OSError) -> int:
    """Tell why the output ends; a reader that left needs no telling."""
    _drop_output()
    if problem.errno == errno.EPIPE:
        return EXIT_CLOSED_PIPE
    try:
        print(f"error: The output cannot be written: {problem.strerror}.", file=sys.stderr)
    except OSError:
        pass   # it was a terminal, and it is gone
    return 1


def _drop_output() -> None:
    """Nobody reads any more: let the interpreter's last flush go nowhere instead of failing."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _log_to(settings: Settings) -> None:
    """A log in which no key stands, whoever wrote it there."""
    import logging

    from core.keys import hide, known_secrets
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
