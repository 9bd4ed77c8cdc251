"""Stream Chat's command line: `python stream_chat.py --help`."""

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the program and exit; Ctrl-C ends it silently, even while it is being loaded.

    Everything is saved, closed and flushed when the program returns, so os._exit skips the
    interpreter's own cleanup, which takes 10 to 30 ms.
    """
    if sys.version_info < (3, 11):
        sys.exit("error: Stream Chat needs Python 3.11 or newer; this is "
                 "%d.%d (%s)." % (*sys.version_info[:2], sys.executable))
    try:
        if sys.argv[1:] in (["--version"], ["-V"]):
            return show_version()
        code = run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    os._exit(code)


def show_version() -> None:
    """Print the version before anything else is imported."""
    prefer_own_modules()
    from core import __version__
    try:
        print(f"stream-chat {__version__}", flush=True)
    except OSError as problem:
        print(f"error: The output cannot be written: {problem.strerror}.", file=sys.stderr)
        os._exit(1)     # without trying again


def run() -> int:
    """Load the program and run it; returns its exit code."""
    prefer_own_modules()
    import gc

    from core.late_modules import load_late
    load_late()
    # nearly all objects made at start-up stay alive: collecting garbage among them takes 8 ms
    gc.set_threshold(50_000, 20, 50)
    from core.chat_engine import main as chat_main
    return chat_main()


def prefer_own_modules() -> None:
    """Import `core` and `db` from beside this file, even if PYTHONPATH or the current directory
    contains modules with these names.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path[:1] == [here]:
        return
    from importlib.machinery import PathFinder

    class OwnModules:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            return PathFinder.find_spec(name, [here]) if name in ("core", "db") else None
    sys.meta_path.insert(0, OwnModules)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
