"""Every setting, declared once: flag, environment variable, configuration key, --help and
docs/settings.md derive from here.

Command line > environment > configuration file > default. No other module reads the environment.
Every start loads this package, so it imports nothing slow (measured: `dataclasses` 10 ms,
`typing` 6 ms, PyYAML 25 ms).
"""

from __future__ import annotations

from core.config.chat_rows import CHAT, PROGRAM, TOOLS_AND_CONTEXT, WEB_PAGE
from core.config.model_rows import DEMO, ENGINE, FAILURES, MODEL, PROVIDERS
from core.config.session_rows import SESSIONS, TEAM
from core.config.setting import Setting
from core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from core.config.types import SettingTypes
else:
    SettingTypes = object    # generated from the rows; only the type checker reads it

# In the order of --help and docs/settings.md.
SETTINGS: tuple[Setting, ...] = (*MODEL, *PROVIDERS, *CHAT, *SESSIONS, *TEAM, *TOOLS_AND_CONTEXT,
                                 *WEB_PAGE, *FAILURES, *ENGINE, *DEMO, *PROGRAM)
BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}


class Settings(SettingTypes):
    """The values of one run, frozen: an attribute for each row of SETTINGS, and:

    * `given`: names of the settings that were set anywhere; the others have their defaults.
    * `flags`: names of those set on the command line; `file`: values of the configuration file.
    * `prompt`: the question on the command line. "prompt" is in `given` if there was one, even an
      empty one. `reads_stdin`: whether `-` was among the arguments.
    * `environment`: the variables of this run, for keys and other secrets.
    * `providers`: the configuration file's own hosts and options, by provider name.
    * `notices`: what the user should know about where the settings came from.
    """

    def __init__(self, values: Mapping[str, Any], *, prompt: str | None = None,
                 reads_stdin: bool = False,
                 environment: Mapping[str, str] | None = None,
                 providers: Mapping[str, Any] | None = None, given: frozenset[str] = frozenset(),
                 flags: frozenset[str] = frozenset(), notices: Sequence[str] = (),
                 file: Mapping[str, Any] | None = None) -> None:
        unknown = set(values) - set(BY_NAME)
        if unknown:
            raise UsageError(f"There is no setting named {', '.join(sorted(unknown))}.")
        state = {row.name: values.get(row.name, row.default) for row in SETTINGS}
        given = given | set(values) | ({"prompt"} if prompt is not None else set())
        state.update(prompt=prompt or "", reads_stdin=reads_stdin,
                     environment=dict(environment or {}),
                     providers=dict(providers or {}), given=given, flags=flags,
                     notices=tuple(notices),
                     file=dict(file or {}))
        self.__dict__.update(state)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Settings are frozen; use replace({name}=...)")

    def replace(self, **changes: Any) -> Settings:
        """A copy with some values changed; `providers` replaces all providers."""
        providers = changes.pop("providers", self.providers)
        values = {name: self.__dict__[name] for name in BY_NAME if name in self.given} | changes
        prompt = self.prompt if "prompt" in self.given else None
        return Settings(values, prompt=prompt, reads_stdin=self.reads_stdin,
                        environment=self.environment,
                        providers=providers, flags=self.flags, notices=self.notices, file=self.file)


def rows_by_group() -> Iterator[tuple[str, list[Setting]]]:
    """Each group's name with its rows, in the order of --help."""
    groups: dict[str, list[Setting]] = {}
    for row in SETTINGS:
        groups.setdefault(row.group, []).append(row)
    yield from groups.items()
