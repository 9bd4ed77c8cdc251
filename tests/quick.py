"""The tests that `make quick` runs: from each folder those that find most in the least time."""

from __future__ import annotations

# A folder of tests/ ("" for tests/ itself) and the names of files in it, without test_ and .py.
# None may need more than about three seconds of processor time.
ROOMS: dict[str, str] = {
    "": "argument_parser ask empty_values events regex running_total safe_text",
    "chat": "characters endless fitting joining repetition turn",
    "commands": "session_commands",
    "config": "config config_file keys templates",
    "console": "colors notification progress_line",
    "context": "choosing outline",
    "engine": "model_download",
    "install": "locks",
    "models": "health model_facts pool",
    "pictures": "redraw",
    "providers": "anthropic cohere decoder gemini hosts ollama_reply openai sealed",
    "rendering": "choices commonmark spoken",
    "retry": "headers policy",
    "sessions": "history listing reply tree",
    "stats": "counting",
    "store": "db_contract db_lists query",
    "terminal": "menu",
    "tools": "guard_files secret_files tool_json",
    "web": "guard pace upkeep",
    "window": "context_budget summary_check token_estimate",
}
FILES = frozenset(f"{room}/test_{name}.py".lstrip("/")
                  for room, names in ROOMS.items() for name in names.split())
