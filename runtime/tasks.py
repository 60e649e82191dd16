"""Tasks and their prefixes: exactly one prefix per text (interface 4.2)."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from embedge.models.errors import InvalidOption
from embedge.models.space import TASKS, custom_task
from embedge.runtime.results import PrefixSource

# The checkpoint's own name for the document prompt; accepted wherever `document` is.
_ALIASES: Mapping[str, str] = {"passage": "document"}


@dataclass(frozen=True)
class Prompt:
    """A prefix, the task that vectors made with it have, and where it came from."""

    prefix: str
    task: str
    source: PrefixSource


class Prompts:
    """The prompt table of a model: which prefix a task has, and which task a prefix means."""

    def __init__(self, prompts: Mapping[str, str], aliases: Mapping[str, str]) -> None:
        """Take `identity.prompts` and `prompt_aliases` of a manifest."""
        self._prompts = prompts
        self._aliases = {**_ALIASES, **aliases}
        # Longest first, so that a prefix which extends another one wins.
        prefixes = [prefix for prefix in dict.fromkeys(prompts.values()) if prefix]
        own = [(prefix, custom_task(prefix, prompts)) for prefix in prefixes]
        self._own = sorted(own, key=lambda pair: -len(pair[0]))
        self._warned = False

    def task(self, name: str) -> str:
        """Return the task that `name`, a task or an alias of one, means.

        Raises:
            InvalidOption: no task of this model has that name.
        """
        task = self._aliases.get(name, name)
        if task not in TASKS:
            known = ", ".join((*TASKS, *sorted(self._aliases.keys() - set(TASKS))))
            raise InvalidOption(f"task {name!r} is unknown; choose one of {known}")
        return task

    def choose(self, task: str, prefix: str | None) -> Prompt:
        """Return the prompt for a run: an explicit prefix wins over the task's.

        Raises:
            InvalidOption: the task is unknown.
        """
        if prefix is not None:
            source: PrefixSource = "custom" if prefix else "none"
            return Prompt(prefix, custom_task(prefix, self._prompts), source)
        name = self.task(task)
        text = self._prompts.get(name, "")
        return Prompt(text, name, "task" if text else "none")

    def split_own(self, text: str, asked: Prompt) -> tuple[Prompt, str]:
        """Return the prompt that `text` needs and the text without a prefix of its own.

        Users of other tools write `search_query: ...` by hand; such a text keeps its prefix and
        gets no second one. If it means another task than the one asked for, a warning says so,
        once per model.
        """
        for prefix, task in self._own:
            if text.startswith(prefix):
                if prefix == asked.prefix:  # several tasks may share a prefix
                    task = asked.task
                self._warn_if_other(task, asked)
                return Prompt(prefix, task, "own"), text[len(prefix) :]
        return asked, text

    def _warn_if_other(self, task: str, asked: Prompt) -> None:
        # Asking for no prefix and writing one by hand is how other tools are used.
        if self._warned or asked.task in (task, "none"):
            return
        self._warned = True
        warnings.warn(
            f"a text brings the prefix {self._prompts[task]!r} of task {task!r}, but task "
            f"{asked.task!r} was asked for; its own prefix is kept. Pass prefix= to decide "
            f"yourself.",
            stacklevel=2,
        )
