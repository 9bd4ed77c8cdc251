"""Two models that answer one question side by side, as events of the page."""

from __future__ import annotations

from collections.abc import Callable

from core.chat.comparison import Comparison, Side
from core.model_manager import Providers
from core.rendering.page import PageStream
from core.stats.usage import price_of
from core.web.conversation.events import PageEvent, error_event, user_event


class Comparing:
    """A running comparison. `publish` sends an event to all listening pages."""

    def __init__(self, comparison: Comparison, providers: Providers,
                 publish: Callable[[PageEvent], None]) -> None:
        self.comparison, self._providers, self._publish = comparison, providers, publish
        self._streams = [PageStream() for _ in comparison.sides]
        self._shown = [0 for _ in comparison.sides]

    async def run(self) -> None:
        """Ask both models, and publish their answers as they arrive."""
        comparison = self.comparison
        question = user_event(comparison.question, -1) if comparison.new else None
        self._publish({"type": "compare", "question": question,
                       "models": [str(side.target) for side in comparison.sides]})
        await comparison.run(self._show_text, self._show_end)

    def _show_text(self) -> None:
        for number, side in enumerate(self.comparison.sides):
            new = side.text[self._shown[number]:]
            if new:
                self._shown[number] += len(new)
                self._publish({"type": "compare_text", "side": number, "raw": new,
                               "ops": self._streams[number].feed(new)})

    def _show_end(self, side: Side) -> None:
        self._show_text()
        replies = side.replies
        usages = [reply.usage for reply in replies if reply.usage is not None]
        state = "failed" if side.error is not None else "stopped" if side.stopped else "done"
        self._publish({
            "type": "compare_side", "side": self.comparison.sides.index(side), "state": state,
            "ops": self._streams[self.comparison.sides.index(side)].finish(), "notes": side.notes,
            "error": error_event(side.error) if side.error is not None else None,
            "answered": bool(replies),
            "tokens": sum(usage.output_tokens or 0 for usage in usages),
            "seconds": round(side.seconds, 1),
            "cost": price_of(replies, self._providers)})
