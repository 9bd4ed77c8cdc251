"""What a front end hands in: how its user is asked, and where progress is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from core.dataclass import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.errors import ProviderError
    from core.events import ShownProgress
    from core.model_manager import Providers, Target
    from core.tool_executor import Approve


@dataclass(frozen=True, slots=True)
class Front:
    """The defaults are those of a program that nobody watches: what needs an answer is
    refused, with the reason.

    `approve` decides whether a tool may run. `agree` gets a question about what is to be attached
    (a command to run, a file of keys) and says yes or no. `choose_model` is asked when no model is
    set up; it gets the error that says so, and raises what ends the program. `progress` shows what
    is done while something is attached. `piped` is the text of the context source `-`.
    """

    approve: Approve | None = None
    agree: Callable[[str], Awaitable[bool]] | None = None
    choose_model: Callable[[ProviderError, Providers], Awaitable[Target]] | None = None
    progress: ShownProgress | None = None
    piped: str = ""
