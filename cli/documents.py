"""Files as inputs."""

from embedge.models.errors import InputError


def decode(data: bytes, path: str, encoding: str | None) -> str:
    try:
        return data.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: not UTF-8; name its encoding with --encoding", "encoding"
        ) from None
