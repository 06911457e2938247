"""The Hugging Face hub: a folder is pushed there when its user names a place, and not otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from clsp import console, files
from clsp.errors import UserError

_STATUS = {
    401: "the token is not valid any more; make another one at https://huggingface.co/settings/tokens",
    403: "the token may not write there; make one that may at https://huggingface.co/settings/tokens",
    404: "there is no such user or organisation, or the token may not see it",
}
"""What an answer of the hub means for the user."""

_NO_NETWORK = ("TransportError", "ConnectionError")
"""Names of the classes of errors that HTTP libraries raise where a connection fails."""

_OLD = ["data/train-*-of-*.parquet", "shard-*.npy"]
"""What an earlier upload of a bank may have left that belongs to other candidates."""

_OLD_MODEL = ["samples.png", "condition/*"]
"""Likewise of a diffusion model: a sheet that is exported no more shows its user's own images."""


def require_name(name: str) -> None:
    """Refuse a name that the hub would refuse, and one without its user, before any work.

    The hub would give NAME to the token's owner; what the card and the screen say to load would not be there.

    Raises:
        UserError: names what is allowed.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"--hub '{name}' is no name of the hub: write USER/NAME ({files.reason(error)})") from error
    if "/" not in name:
        raise UserError(f"--hub '{name}' does not say whose it is: write USER/NAME, such as USER/{name}")


def push(
    folder: Path, names: Sequence[str], hub: str, kind: Literal["model", "dataset"] = "model", api: Any = None
) -> str:
    """Upload files of a folder to the hub, after saying which; a repository that is new is private.

    Args:
        folder: where they lie.
        names: the files that are uploaded, and no others.
        hub: the repository, ``USER/NAME``.
        kind: what it holds.
        api: a ``huggingface_hub.HfApi``; None: one with the user's own token.

    Returns:
        The address of the repository.

    Raises:
        UserError: there is no token, no network, or the hub refuses.
    """
    import huggingface_hub

    require_name(hub)
    api = api or huggingface_hub.HfApi()
    with _answered(hub):
        user = api.whoami()["name"]
        total = sum((folder / name).stat().st_size for name in names)
        console.say(f"hub: {user} uploads {len(names)} files, {_size(total)}, to the {kind} {hub}:")
        for name in names:
            console.say(f"hub:   {name}, {_size((folder / name).stat().st_size)}")
        made = api.create_repo(hub, repo_type=kind, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=str(folder),
            repo_type=kind,
            allow_patterns=[_literal(name) for name in names],
            delete_patterns=_outdated(names, kind),
            commit_message="Upload by clsp export",
        )
    return str(made)


def _outdated(names: Sequence[str], kind: Literal["model", "dataset"]) -> list[str] | None:
    """Patterns of files on the hub that go, unless they are uploaded anew."""
    if kind == "dataset":
        return _OLD
    return _OLD_MODEL if "model_index.json" in names else None


def _literal(name: str) -> str:
    """A file's name as a pattern that fits it alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


@contextmanager
def _answered(hub: str) -> Iterator[None]:
    """Turn what goes wrong between here and the hub into one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise UserError(f"--hub {hub}: no token is known here; run 'hf auth login', or set HF_TOKEN") from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError(f"--hub {hub}: HF_HUB_OFFLINE is set; unset it to upload") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        why = _STATUS.get(status or 0) or getattr(error, "server_message", None) or files.reason(error)
        raise UserError(f"--hub {hub}: the hub refuses (status {status}): {why}") from error
    except Exception as error:
        if not _is_network(error):
            raise
        raise UserError(
            f"--hub {hub}: the hub cannot be reached ({files.reason(error)}); the folder is complete, so give the "
            "same command again when there is a network"
        ) from error


def _is_network(error: Exception) -> bool:
    """Whether a connection failed; which library of HTTP says so depends on the version of huggingface_hub."""
    return any(kind.__name__ in _NO_NETWORK for kind in type(error).__mro__)


def _size(count: float) -> str:
    """Bytes as text."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
