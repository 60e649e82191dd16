"""Argument values that Nomic's own classes take, and which of them a local CPU runtime can do."""

from embedge.models.errors import InvalidOption

TASK_OF = {
    "search_document": "document",
    "search_query": "query",
    "classification": "classification",
    "clustering": "clustering",
}
"""Nomic's task types, which are its prefixes without the colon, to our tasks."""


def task_of(task_type: str, argument: str) -> str:
    """Return our task for one of Nomic's task types; `argument` names it in the message.

    Raises:
        InvalidOption: there is no such task type.
    """
    if task_type not in TASK_OF:
        raise InvalidOption(
            f"{argument} {task_type!r} is unknown; choose one of {', '.join(TASK_OF)}"
        )
    return TASK_OF[task_type]


def require_local(inference_mode: str, device: str | None) -> None:
    """Refuse what needs a service or a GPU.

    Raises:
        InvalidOption: `inference_mode` is not `local`, or `device` is not None or `cpu`.
    """
    if inference_mode != "local":
        raise InvalidOption(
            f"inference_mode {inference_mode!r} is not supported; embedge computes on this "
            f'machine only, use inference_mode="local"'
        )
    require_cpu(device)


def require_cpu(device: object) -> None:
    """Refuse another device.

    Raises:
        InvalidOption: `device` is neither None nor `cpu`.
    """
    if device is not None and str(device) != "cpu":
        raise InvalidOption(f'device {device!r} is not supported; embedge runs on the "cpu"')
