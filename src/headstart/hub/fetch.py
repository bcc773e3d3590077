"""Weights from the hub: downloaded once into the cache of its own client, safetensors only."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from headstart.engine.folder import STUDENT
from headstart.errors import UserError
from headstart.hub.address import SUFFIX, HubAddress, is_on_hub, parse_address
from headstart.hub.reach import hub_unreachable


def local_file(place: str | Path) -> Path:
    """The path of a file on this machine: `place` itself, or where a file of the hub lies after its download.

    An address that names no file means the one that `headstart push` writes, or the only one.

    Without network what was downloaded before is used. The content is not looked at; whoever opens it checks it.
    Raises UserError, within seconds, for an address that is wrong, or whose file cannot be had.
    """
    if not is_on_hub(place):
        return Path(place)
    address = parse_address(place)
    problem = hub_unreachable()
    if problem is not None:
        return _cached(address, problem)
    import huggingface_hub

    with hub_errors(str(address)):
        file = address.file or _choose(
            address, huggingface_hub.HfApi().list_repo_files(address.repository, revision=address.revision)
        )
        return Path(huggingface_hub.hf_hub_download(address.repository, file, revision=address.revision))


def _cached(address: HubAddress, problem: str) -> Path:
    import huggingface_hub

    file = address.file or STUDENT
    found = huggingface_hub.try_to_load_from_cache(address.repository, file, revision=address.revision)
    if isinstance(found, str):
        return Path(found)
    raise UserError(
        f"{address}: the hub cannot be reached ({problem}), and {file} of {address.repository} was not downloaded "
        "before. Try again with network, or give the path of a file on this machine."
    )


def _choose(address: HubAddress, files: list[str]) -> str:
    """The file that an address without one means. Raises UserError if that is open."""
    weights = sorted(file for file in files if file.endswith(SUFFIX))
    if STUDENT in weights:
        return STUDENT
    if len(weights) == 1:
        return weights[0]
    if not weights:
        raise UserError(f"{address}: there is no {SUFFIX} file in {address.repository}, and no other kind is taken.")
    raise UserError(
        f"{address}: there are several files of weights in {address.repository} ({', '.join(weights[:8])}): say which, "
        f"such as hf://{address.repository}/{weights[0]}."
    )


@contextmanager
def hub_errors(what: str) -> Generator[None]:
    """Whatever the hub's client raises inside becomes a UserError of one sentence that begins with `what`."""
    from huggingface_hub import errors

    # The client's HTTP library has changed before; the base class of its errors is found where the client has it.
    http = cast(type[Exception], errors.HfHubHTTPError.__bases__[0])
    try:
        yield
    except errors.GatedRepoError:
        raise UserError(
            f"{what}: its owner asks everybody to accept terms first: do so on the repository's page, then log in here "
            "by `hf auth login`."
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{what}: the hub has no such repository, or it is private and you are not logged in (`hf auth login`)."
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{what}: the repository has no such branch, tag or commit.") from None
    except errors.LocalEntryNotFoundError as error:
        raise UserError(f"{what}: the download failed: {_reason(error.__cause__ or error)}. Try again.") from None
    except errors.EntryNotFoundError:
        raise UserError(f"{what}: there is no such file in the repository.") from None
    except (OSError, ValueError, http) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise UserError(
                f"{what}: the hub refused it (status {status}): log in by `hf auth login`, or set HF_TOKEN, with a "
                "token that may do this."
            ) from None
        raise UserError(f"{what}: the hub's client says: {_reason(error)}.") from None


def _reason(error: BaseException) -> str:
    """The first line of what an error says, without its full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).strip().rstrip(".")
