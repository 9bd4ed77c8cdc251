"""Stream Chat's command line: `python stream_chat.py --help`."""

import sys


def main() -> int:
    """Answer --version before anything is imported; hand everything else to the program."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from core import __version__
        print(f"stream-chat {__version__}")
        return 0
    from core.chat_engine import main as chat_main
    return chat_main()


if __name__ == "__main__":
    sys.exit(main())
