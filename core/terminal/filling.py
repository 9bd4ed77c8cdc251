"""Shows what fills the model's window."""

from __future__ import annotations

from core.commands import Filling
from core.console.screen import Screen
from core.rendering.bars import bar_rows, spoken_bars
from core.rendering.event_lines import Line


def show_filling(screen: Screen, filling: Filling) -> None:
    """Show bars, a line for each attachment, and notes."""
    screen.gap()
    if screen.plain:
        screen.line(spoken_bars(filling.bars))
    else:
        for row in bar_rows(filling.bars, screen.width(), screen.theme, unicode=screen.unicode):
            screen.write(f"{row}\n")
    screen.gap()
    for name, said in filling.attached:
        screen.show(Line("added", "", name, said))
    for note in filling.notes:
        screen.note(note)
