"""Stream Chat's command line: `python stream_chat.py --help`."""

import sys


def main() -> None:
    """Answer --version before anything else is imported; otherwise run the program and exit.

    Everything is saved, closed and flushed when the program returns, so os._exit skips the
    interpreter's own cleanup, which takes 10 to 30 ms.
    """
    if sys.version_info < (3, 11):
        sys.exit("error: Stream Chat needs Python 3.11 or newer; this is "
                 "%d.%d (%s)." % (*sys.version_info[:2], sys.executable))
    prefer_own_modules()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from core import __version__
        print(f"stream-chat {__version__}")
        return
    import gc
    import os

    from core.late_modules import load_late
    load_late()
    # nearly all objects made at start-up stay alive: collecting garbage among them takes 8 ms
    gc.set_threshold(50_000, 20, 50)
    from core.chat_engine import main as chat_main
    os._exit(chat_main())


def prefer_own_modules() -> None:
    """Import `core` and `db` from beside this file, even if PYTHONPATH or the current directory
    contains modules with these names.
    """
    import os
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
