"""Divides the model's window: system prompt, tools, context, history, reserve for the answer."""

from __future__ import annotations

from core.dataclass import dataclass, replace
from core.errors import UsageError
from core.rendering.bars import Bars

# Assumed if the window is not known: it limits the context, but no history is cut for a guess.
DEFAULT_WINDOW = 32_768
MOST_RESERVE = 8_192  # tokens kept for the answer if --max-tokens is not given
MARGIN = 0.05         # share of the window kept free because estimates are not exact
CONTEXT_SHARE = 0.75  # largest share of the free room for context; the history needs room too
CONTEXT_LEAST = 0.3   # share of the free room that context keeps even if the history is long
NAMES = {"system": "Instructions", "tools": "Tools", "context": "Attached",
         "history": "Conversation", "free": "Free", "reserve": "Kept for the answer"}


@dataclass(frozen=True, slots=True)
class Budget:
    """Shares of a window, all in tokens.

    `window` is the allocated size and `reserve` is kept for the answer; the others are used.
    `margin` is kept free because estimates are not exact; 0 if the provider counts. `fixed` is the
    part of the history that is never left out: the current turn and pinned messages.
    """

    window: int
    reserve: int
    system: int = 0
    tools: int = 0
    history: int = 0
    context: int = 0
    margin: int = 0
    fixed: int = 0

    @property
    def free(self) -> int:
        """The unused room; negative if the request does not fit."""
        return (self.window - self.reserve - self.margin - self.system - self.tools - self.history
                - self.context)

    @property
    def for_context(self) -> int:
        """The most that context may use now; a quarter of the room is kept for the history."""
        room = self.window - self.reserve - self.margin - self.system - self.tools
        wanted = max(int(room * CONTEXT_LEAST), min(room - self.history, int(room * CONTEXT_SHARE)))
        return max(0, min(wanted, room - self.fixed))

    @property
    def for_history(self) -> int:
        """The most that the conversation may use beside the current context."""
        return max(0, self.window - self.reserve - self.margin - self.system - self.tools
                   - self.context)

    def with_context(self, tokens: int) -> Budget:
        return replace(self, context=tokens)

    def shares(self) -> dict[str, int]:
        """Tokens by name, in the order of sending, including the free room; they add up to the
        window unless it is exceeded.
        """
        used = {"system": self.system, "tools": self.tools, "context": self.context,
                "history": self.history}
        return used | {"free": max(0, self.free + self.margin), "reserve": self.reserve}


def plan_budget(window: int | None, *, max_tokens: int | None = None, system: int = 0,
                tools: int = 0, history: int = 0,
                fixed: int = 0, exact: bool = False) -> Budget:
    """Divide a window between a system prompt, tools and history of these sizes (tokens).

    `exact`: the sizes are counts, not estimates. Raises UsageError if the system prompt and the
    tools alone do not fit.
    """
    whole = window or max(DEFAULT_WINDOW, 2 * (system + tools + history))
    reserve = min(max_tokens, whole // 2) if max_tokens else min(whole // 4, MOST_RESERVE)
    budget = Budget(whole, reserve, system, tools, history,
                    margin=0 if exact else int(whole * MARGIN), fixed=fixed)
    if system + tools >= whole - reserve:
        raise UsageError(f"The system prompt ({system:,} tokens) and the tools ({tools:,}) leave "
                         f"no room in a window of {whole:,} tokens.",
                         "Use fewer tools, a shorter --system, or a larger --num-ctx.")
    return budget


def budget_bars(budget: Budget, model: str = "") -> Bars:
    """Bars of the window's shares that are not empty, and how full the window is, counting the
    reserve for the answer.
    """
    shares = budget.shares()
    free = shares.pop("free")
    taken = sum(shares.values())
    short = -budget.free - budget.margin
    about = (f"{taken / budget.window:.0%} of {budget.window:,} "
             "tokens" + (f", {model}" if model else ""))
    rows = tuple((NAMES[name], size) for name, size in (*shares.items(), ("free", free)) if size)
    return Bars("Window", about + (f": {short:,} too many" if short > 0 else ""), budget.window,
                rows, NAMES["free"])
