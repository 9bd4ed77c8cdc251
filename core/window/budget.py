"""The model's window, shared out: system prompt, tools, context, history,
and a reserve for the answer.
"""

from __future__ import annotations

from core.dataclass import dataclass, replace
from core.errors import UsageError
from core.rendering.bars import Bars

# of a model that nobody says anything of: context is kept within it, history is not cut for a guess
DEFAULT_WINDOW = 32_768
MOST_RESERVE = 8_192         # tokens kept for the answer when --max-tokens does not say
MARGIN = 0.05                # of the window: estimates are not exact
CONTEXT_SHARE = 0.75  # the most of what is free that context takes: a conversation needs room too
CONTEXT_LEAST = 0.3  # of what is free: a long history does not push context out, but is cut itself
NAMES = {"system": "Instructions", "tools": "Tools", "context": "Attached",
         "history": "Conversation",
         "free": "Free", "reserve": "Kept for the answer"}


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens.

    `window` is the allocated one; `reserve` is for the answer; the others are what is used.

    `margin` is kept free because estimates are not exact; 0 when the provider counts. `fixed` is
    what of the history always stays: the turn that is going on, and what is pinned.
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
        """What nothing takes; negative when the request does not fit."""
        return (self.window - self.reserve - self.margin - self.system - self.tools - self.history
                - self.context)

    @property
    def for_context(self) -> int:
        """The most that context may take now.

        History keeps a quarter of the room, also when it is not used yet.
        """
        room = self.window - self.reserve - self.margin - self.system - self.tools
        wanted = max(int(room * CONTEXT_LEAST), min(room - self.history, int(room * CONTEXT_SHARE)))
        return max(0, min(wanted, room - self.fixed))

    @property
    def for_history(self) -> int:
        """The most that the conversation may take beside the context that is in."""
        return max(0, self.window - self.reserve - self.margin - self.system - self.tools
                   - self.context)

    def with_context(self, tokens: int) -> Budget:
        return replace(self, context=tokens)

    def shares(self) -> dict[str, int]:
        """By name, in the order in which they are sent, with what is free;
        they add up to the window unless it is exceeded.
        """
        used = {"system": self.system, "tools": self.tools, "context": self.context,
                "history": self.history}
        return used | {"free": max(0, self.free + self.margin), "reserve": self.reserve}


def plan_budget(window: int | None, *, max_tokens: int | None = None, system: int = 0,
                tools: int = 0, history: int = 0,
                fixed: int = 0, exact: bool = False) -> Budget:
    """Share out a window of which the system prompt, the tools and the history have this size.

    `exact` says that the numbers are counts. Raises UsageError when not even the system
    prompt and the tools fit.
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
    """What fills the window of a model: its shares that are not empty,
    and how full it is with what is kept for the answer.
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
