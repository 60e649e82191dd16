"""What clients may call the model: its names, `:latest`, and a task behind a colon."""

from collections.abc import Sequence

from embedge.runtime.serve.failures import UnknownModel

TASK_TAGS = ("query", "document")
_LATEST = "latest"


class ModelNames:
    """The first name is the one that is shown; case never counts."""

    def __init__(self, names: Sequence[str]) -> None:
        self.shown = names[0]
        self._known = {name.lower() for name in names}

    def listed(self) -> list[str]:
        """Return the ids of `GET /v1/models`: with and without a task."""
        return [self.shown, *(f"{self.shown}:{tag}" for tag in TASK_TAGS)]

    def task_of(self, asked: str | None) -> str | None:
        """Return the task that a model id asks for, None if it names none.

        Raises:
            UnknownModel: this server holds no such model.
        """
        if asked is None:
            return None
        rest, task = asked.lower(), None
        while rest not in self._known:
            rest, colon, tag = rest.rpartition(":")
            if not colon or (tag != _LATEST and (tag not in TASK_TAGS or task is not None)):
                name = asked[:200]
                raise UnknownModel(
                    name,
                    f"model {name!r} is not served here; this server holds {self.shown!r}. "
                    f"Start it with --served-model-name to give it another name",
                )
            task = tag if tag in TASK_TAGS else task
        return task
