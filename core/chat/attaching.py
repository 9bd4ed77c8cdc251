"""Attaches sources to a chat: named sources, files named in a prompt, and those of a session."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from core.chat.front import Front
from core.chat.kept import kept_settings, read_attached
from core.config import Settings
from core.dataclass import replace
from core.errors import ContextError, UsageError
from core.messages import Attached
from core.model_manager import Providers, Target
from core.session_manager import Session
from core.sessions.sharing import is_waiting, offered_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.chat.fitting import Fitter
    from core.context_loader import ContextSet
    from core.models.window import WindowWatch
    from core.tool_executor import Toolbox


class Attaching:
    """The part of a chat that handles attachments; its modules are loaded when something is
    attached.
    """

    settings: Settings
    session: Session
    providers: Providers
    front: Front
    toolbox: Toolbox | None
    make_toolbox: Callable[[], Toolbox] | None
    news: list[str]
    started: Settings
    _fitter: Fitter | None = None
    _window: WindowWatch | None = None
    _brought = ""      # the session whose attachments are loaded

    @property
    def target(self) -> Target:
        """The model that the next request goes to."""
        raise NotImplementedError

    @property
    def window(self) -> WindowWatch:
        """Finds out models' windows; loaded after the first answer."""
        if self._window is None:
            from core.models.window import WindowWatch
            self._window = WindowWatch(self.providers)
        return self._window

    @property
    def fitter(self) -> Fitter:
        """Keeps requests within the window; loaded with the first attachment, or when the
        conversation grows.
        """
        if self._fitter is None:
            from core.chat.fitting import Fitter
            self._fitter = Fitter(self.settings, self.providers, self.window)
        return self._fitter

    @property
    def context(self) -> ContextSet:
        """The attached sources."""
        return self.fitter.open_context(self.session, ask=self.front.agree, stdin=self.front.piped,
                                        progress=self.front.progress)

    async def bring_back(self) -> None:
        """After a session was opened, attach its sources and detach those of the previous one."""
        if self._brought == self.session.id:
            return
        first, self._brought = not self._brought, self.session.id
        if is_waiting(self.session.settings) and (self.front.agree is not None or not first):
            await self._ask_for_offered()
        kept = read_attached(self.session.settings)
        if not first and self._fitter is not None:
            self._take_out({entry.source.name for entry in kept})
        if not kept and not any(isinstance(part, Attached) for message in self.session.recent
                                for part in message.parts):
            return
        self.news += await self.context.restore(kept, self.session.messages)
        names = [entry.source.name for entry in kept if entry.source.name in self.context.loaded]
        if names and first:
            self.news.append(f"Attached as before: {', '.join(names)}.")
        self._open_to_tools()

    async def _ask_for_offered(self) -> None:
        """Use what another person stored with the session only if the user agrees."""
        from core.chat.offered import settle_offered
        agreed, said = await settle_offered(self.session, self.front)
        self.news += said
        if agreed:
            self.news += self.enter(self.session)
            self._offer_kept_tools()

    def _offer_kept_tools(self) -> None:
        """Offer the tools that the session's settings switch on, in addition to the current ones.
        """
        made = self.make_toolbox() if self.make_toolbox else None
        if self.toolbox is None:
            self.toolbox = made
        elif made is not None:
            self.toolbox.tools.update(made.tools)

    def enter(self, session: Session) -> list[str]:
        """Continue another session; return notices about it."""
        raise NotImplementedError

    def _take_out(self, wanted: set[str]) -> None:
        """Detach what neither this session nor --context names."""
        from core.context.sources import parse_context_arg
        named = {source.name for value in self.started.context
                 for source in parse_context_arg(value)}
        for source in [source for source in self.context.sources
                       if source.name not in wanted | named]:
            self.context.drop(source.name)

    def keep_attached(self) -> None:
        """Store the attachments and settings with the session."""
        sources = (self._fitter.context.kept()
                   if self._fitter is not None and self._fitter.context is not None else ())
        waiting = offered_in(self.session.settings)
        self.session.keep_settings(kept_settings(self.settings, sources, waiting))

    async def attach_file(self, path: str) -> list[str]:
        """Attach a file under its own name without its folder, as attach() does.

        If another file of this name is attached, the name of the folder distinguishes them.
        """
        await self.bring_back()
        root, name = os.path.split(path)
        if any(item.name == name and item.path != path for item in self.context.items):
            root, folder = os.path.split(root)
            name = f"{folder}/{name}"
        return await self.attach(name, root)

    async def attach(self, source: str, root: str = "") -> list[str]:
        """Attach a source written like an argument of --context; return what could not be loaded.
        A relative name starts at `root`, by default the working directory.

        Raises ContextError if nothing could be loaded.
        """
        await self.bring_back()
        before = [*self.context.items]
        try:
            faults = await self.context.add(source, root)
        finally:
            if self.front.progress is not None:
                self.front.progress.clear()
        from core.chat.seeing import require_sight
        await require_sight(self.context, before, self.target, self.providers, self.front)
        self._open_to_tools()
        self.keep_attached()
        return [f"Not attached: {fault}" for fault in faults]

    def _open_to_tools(self) -> None:
        """Let tools read the attached files."""
        if self.toolbox:
            from core.tools import real_roots
            known = self.toolbox.context
            given = [item.path for item in self.context.items if item.path]
            folders = [entry.target for entry in self.context.sources if entry.kind == "directory"]
            roots = dict.fromkeys((*known.roots,
                                   *real_roots([*folders, *(given if len(given) < 1000 else ())])))
            self.toolbox.context = replace(known, roots=tuple(roots))
            self.toolbox.private = True

    async def attach_mentions(self, text: str, pasted: Sequence[str] = ()) -> list[str]:
        """Attach the files and folders that a prompt names as @path; return notices.

        Paths in pasted text are not attached, since the user may not have written them. Raises
        ContextError if one cannot be attached and the user does not want to send the prompt without
        it.
        """
        if "@" not in text:
            return []
        from core.chat.seeing import NotSeen
        from core.context.sources import is_surely_path, missing_mentions, typed_mentions
        mentions, others = typed_mentions(text, pasted)
        missing = [path for path in missing_mentions(text)
                   if not any(path in piece for piece in pasted)]
        notes = [f"Not attached: {path}: it stands in pasted text. /context add {path} attaches it"
                 for path in others]
        notes += [f"Not attached: {path}: there is no such file"
                  for path in missing if not is_surely_path(path)]
        failed = [f"{path}: there is no such file" for path in missing if is_surely_path(path)]
        for path in mentions:
            try:
                notes += await self.attach(f'"{path}"' if "," in path else path)
            except UsageError as error:
                if isinstance(error, NotSeen):      # the user was asked, or cannot be
                    raise ContextError(f"Not sent. {error.message}", error.hint) from error
                failed.append(error.message.removeprefix("No context could be loaded: ")
                              .removesuffix("."))
        if failed:
            await self._send_without(failed)
        return notes

    async def _send_without(self, failed: Sequence[str]) -> None:
        said = f"Not attached: {'; '.join(failed)}."
        if (self.front.agree is None
            or not await self.front.agree(f"{said}\nSend the message without it?")):
            raise ContextError(f"Not sent. {said}",
                               "Correct the name after @, or put a space after the @.")
