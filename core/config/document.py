"""A parsed configuration file, with the line number of each key."""

from __future__ import annotations

from typing import Any

from core.config.values import read_own_text
from core.errors import ConfigError

DEEPEST = 20              # levels of nesting that are read: an anchor may contain itself
MOST_NODES = 100_000      # values in a file; each use of an anchor counts
Keys = tuple[str, ...]


class ConfigDocument:
    """The parsed file: `mapping` holds its values, `lines` the line number of each key's path.

    Raises ConfigError for a file that cannot be read or parsed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: dict[Keys, int] = {}
        self._nodes: dict[Keys, Any] = {}
        try:
            text = read_own_text(path)
        except FileNotFoundError as problem:
            raise ConfigError(f"There is no configuration file {path}.",
                              "Give an existing file with --config, or omit it.") from problem
        except OSError as problem:
            fix = "Fix its permissions, or use" if isinstance(problem, PermissionError) else "Use"
            raise ConfigError(f"The configuration {path} cannot be read: {problem.strerror}.",
                              f"{fix} another file with --config.") from problem
        except UnicodeDecodeError as problem:
            raise ConfigError(f"The configuration {path} is not UTF-8 text (byte {problem.start}).",
                              "Save it as UTF-8.") from problem
        loaded = self._parse(text)
        if not isinstance(loaded, dict):
            raise ConfigError(f"The configuration {path} must contain `key: value` lines.")
        self.mapping: dict[str, Any] = {str(key): value for key, value in loaded.items()}

    def _parse(self, text: str) -> Any:
        import yaml
        if self.path.endswith(".json"):
            text = text.replace("\t", " ")   # JSON allows tabs as white space, YAML does not
        loader = None
        try:
            from core.config.yaml_words import make_loader
            loader = make_loader(text)
            node = loader.get_single_node()
            self._check_size(node)
            self._note_lines(node, (), 0)     # before PyYAML resolves the merges (<<)
            loaded = loader.construct_document(node) if node is not None else {}
            return loaded if loaded is not None else {}
        # ValueError: 2001-13-45 looks like a date but is not a valid one
        except (yaml.YAMLError, ValueError) as problem:
            mark = getattr(problem, "problem_mark", None)
            line = f" line {mark.line + 1}" if mark else ""
            number = isinstance(problem, ValueError) and not isinstance(problem, yaml.YAMLError)
            what = ("it contains an invalid number or date" if number
                    else getattr(problem, "problem", None) or "it is not YAML")
            raise ConfigError(f"The configuration {self.path}{line} cannot be parsed: {what}.",
                              "Fix that line.") from problem
        except RecursionError as problem:
            raise ConfigError(f"The configuration {self.path} is nested too deeply.") from problem
        finally:
            if loader is not None:
                loader.dispose()

    def _check_size(self, node: Any) -> None:
        """Refuse a file that aliases of aliases make huge: a shared value is processed again for
        each use.
        """
        counts: dict[int, int] = {}

        def count(part: Any) -> int:
            if id(part) not in counts:
                counts[id(part)] = MOST_NODES  # if an alias inside refers to this node: endless
                inside = ([each for pair in part.value for each in pair] if part.id == "mapping"
                          else part.value)
                counts[id(part)] = 1 + (0 if part.id == "scalar" else sum(map(count, inside)))
            return counts[id(part)]
        if node is not None and count(node) > MOST_NODES:
            raise ConfigError(f"The configuration {self.path} contains more than {MOST_NODES:,} "
                              "values.", "Does it use aliases of aliases?")

    def _note_lines(self, node: Any, path: Keys, depth: int) -> None:
        """Record the line of each key; refuse duplicate keys (PyYAML silently keeps the last)."""
        if depth > DEEPEST or node is None or node.id != "mapping":
            return
        merged = [pair[1] for pair in node.value if _merges(pair[0])]
        for key_node, value_node in node.value:
            here = (*path, str(key_node.value))
            line = key_node.start_mark.line + 1
            if _merges(key_node):
                continue
            if here in self.lines:
                raise ConfigError(f"{self.path} line {line}: duplicate key {key_node.value!r}.",
                                  f"The first is on line {self.lines[here]}; keep one of them.")
            self.lines[here] = line
            self._nodes[here] = value_node
            self._note_lines(value_node, here, depth + 1)
        for part in merged:
            self._note_merged(part, path, depth)

    def _note_merged(self, node: Any, path: Keys, depth: int) -> None:
        """Record the keys that `<<` merges: the mapping's own keys win, then those of the mapping
        merged first.
        """
        if depth > DEEPEST:
            return
        for part in node.value if node.id == "sequence" else [node]:
            if part.id != "mapping":
                continue
            for key_node, value_node in part.value:
                here = (*path, str(key_node.value))
                if _merges(key_node):
                    self._note_merged(value_node, path, depth + 1)
                elif here not in self.lines:
                    self.lines[here] = key_node.start_mark.line + 1
                    self._nodes[here] = value_node
                    self._note_lines(value_node, here, depth + 1)

    def written(self, value: Any, *path: str) -> Any:
        """The value of a key, its scalars as the text written in the file: YAML reads No as false
        and 007 as 7.
        """
        node = self._nodes.get(path)
        if node is None or value is None:
            return value
        if node.id == "scalar":
            return node.value
        if node.id == "sequence" and isinstance(value, list) and len(value) == len(node.value):
            return [item.value if item.id == "scalar" else read
                    for item, read in zip(node.value, value, strict=True)]
        if node.id == "mapping" and isinstance(value, dict):
            words = {key.value: item.value
                     for key, item in node.value if key.id == item.id == "scalar"}
            return {words_key: words.get(words_key, read) for words_key, read in
                    ((str(key), read) for key, read in value.items())}
        return value

    def place(self, *path: str) -> str:
        """File and line of a key, or of its nearest parent if the key comes from an anchor."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.path} line {self.lines.get(path, 1)}"


def _merges(key: Any) -> bool:
    return bool(key.id == "scalar" and key.value == "<<")
