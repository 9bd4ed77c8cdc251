"""Signs at the end or start of a message that request another line."""

QUOTES = '"""'


def continues(text: str) -> bool:
    """Whether a backslash at its end requests another line; two backslashes are text."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def in_quotes(text: str) -> bool:
    """Whether the text begins with three quotes that are not closed, as in `ollama run`."""
    begun = text.lstrip()
    return begun.startswith(QUOTES) and QUOTES not in begun[len(QUOTES):]
