"""The entry point: finds the module that does what the command line asks for, and runs it."""

from __future__ import annotations

import os
import sys

from core.argument_parser import parse_arguments
from core.config import Settings
from core.console.question import something_is_piped
from core.console.standard_streams import OUTPUT_LOST, flush, lose_output, prepare_streams
from core.errors import ChatError, UsageError, unexpected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

EXIT_INTERRUPTED = 130

# Each action and the module whose `run(settings)` performs it. Only that module is loaded: most of
# the time to start is spent on imports.
DOORS = {
    "help": "core.command_line.about",
    "version": "core.command_line.about",
    "completion": "core.command_line.shells",
    "widget": "core.command_line.shells",
    "self_test": "core.command_line.self_test",
    "set_key": "core.command_line.key",
    "pull": "core.command_line.pull",
    "check": "core.command_line.provider_lists",
    "list_providers": "core.command_line.provider_lists",
    "list_agents": "core.command_line.provider_lists",
    "list_models": "core.command_line.provider_lists",
    "list_sessions": "core.command_line.session_list",
    "search": "core.command_line.search",
    "stats": "core.command_line.stats",
    "count": "core.command_line.count",
    "export_session": "core.command_line.export",
    "export_all": "core.command_line.export_many",
    "export_found": "core.command_line.export_many",
    "import_file": "core.command_line.import_sessions",
    "delete_session": "core.command_line.delete",
    **dict.fromkeys(("undo", "redo", "branches", "branch", "fork", "rename", "tag", "pin_session",
                     "unpin_session", "archive", "unarchive", "undelete", "prune", "share",
                     "unshare"),
                    "core.command_line.change_session"),
    **dict.fromkeys(("db_check", "db_repair", "db_backup", "db_restore", "db_move", "db_shrink"),
                    "core.command_line.care"),
    "db_init": "core.command_line.team",
    **dict.fromkeys(("add_user", "remove_user", "list_users"), "core.command_line.accounts"),
    "web": "core.web.start",
}
# the modules that use --output
WRITERS = frozenset(f"core.command_line.{name}" for name in ("export", "export_many", "care"))
ONE_ANSWER = "core.command_line.one_answer"
TERMINAL = "core.terminal.start"
LOG = "core.console.debug_log"
SILENCE = "core.console.silence"
REPORT = "core.console.report"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Errors are reported on standard error, in at most three lines each.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    prepare_streams()
    settings: Settings | None = None
    try:
        settings = parse_arguments(words, os.environ)
        code = act(settings)
    except ChatError as error:
        _load(REPORT).report(error, words, os.environ, settings)
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno in OUTPUT_LOST:
            code = lose_output(problem)
        else:
            _load(REPORT).report(unexpected(problem), words, os.environ, settings)
            code = 1
    return flush() or code


def act(settings: Settings) -> int:
    """Perform the action that the settings ask for and return the exit code. Raises ChatError."""
    door = door_of(settings)
    if "output" in settings.flags and door not in WRITERS:
        raise UsageError("--output names the file of an export or a backup, but neither was "
                         "requested.",
                         "Use --export-session last --output FILE to export a session, or > FILE "
                         "after a question to save its answer.")
    if door != DOORS["version"]:
        _load(SILENCE).silence()
    if settings.debug:
        _load(LOG).start_log(settings)
    for notice in settings.notices:
        print(notice, file=sys.stderr)
    code: int = _load(door).run(settings)
    return code


def door_of(settings: Settings) -> str:
    """The name of the module for these settings: an action, one answer, or a chat."""
    for action, module in DOORS.items():
        if getattr(settings, action):
            return module
    if settings.extract is not None:
        return ONE_ANSWER
    if sys.stdout.isatty() and not (settings.json
                                    and (settings.prompt or something_is_piped(settings))):
        return TERMINAL
    return ONE_ANSWER


def _load(module: str) -> Any:
    """Import a module by name; loading importlib for this would add 1 ms to every start."""
    __import__(module)
    return sys.modules[module]
