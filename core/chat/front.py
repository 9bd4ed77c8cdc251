"""What a front end provides to a chat: how to ask its user, and where to show progress."""

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
    """The functions of a front end. With the defaults, which suit a program without a user,
    everything that needs an answer is refused with the reason.

    `approve` decides whether a tool may run. `agree` is called with a question about an attachment
    (a command to run, a key file) and returns yes or no. `choose_model` is called if no model is
    configured, with the error that says so; it may raise to end the program. `progress` shows the
    progress of attaching. `piped` is the text of the context source `-`.
    """

    approve: Approve | None = None
    agree: Callable[[str], Awaitable[bool]] | None = None
    choose_model: Callable[[ProviderError, Providers], Awaitable[Target]] | None = None
    progress: ShownProgress | None = None
    piped: str = ""
