"""ImageNet weights from timm's hub, from its local cache or from a file; an error where there are none."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from headstart.errors import LISTED, UserError

_CLASSIFIER_PARTS = ("classifier", "fc", "head", "head_dist", "conv_head", "bn2", "norm_head", "norm")
_SECONDS_TO_ANSWER = 5.0


def create_pretrained(make: Callable[..., nn.Module], name: str, timm_name: str) -> nn.Module:
    """`make(pretrained=True)`. Raises UserError, within seconds, if there are no weights or they cannot be fetched.

    The hub's client retries for three quarters of a minute without network, so one request first finds out whether the
    hub answers; weights in its local cache are used without a request.
    """
    import timm

    settings = timm.get_pretrained_cfg(timm_name)
    if settings is None or not settings.has_weights:
        raise UserError(
            f"timm has no pretrained weights for {name} ({timm_name}): pass --weights none or --weights FILE"
        )
    cached = _cached_file(settings)
    if cached is not None:
        return make(pretrained=True, pretrained_cfg_overlay={"file": str(cached)})
    problem = _unreachable(_hub_address() if settings.hf_hub_id else str(settings.url))
    if problem is None:
        try:
            return make(pretrained=True)
        except (OSError, RuntimeError, ValueError) as error:
            problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise UserError(
        f"could not fetch ImageNet weights of {name} (no network?): pass --weights none to train from scratch or "
        f"--weights FILE with a state dict of timm's {timm_name}. The reason given: {problem}"
    )


def load_file(body: nn.Module, name: str, path: Path) -> None:
    """Loads a state dict with timm's keys into a backbone; only keys of the classifier may be left over.

    Raises UserError that lists every missing, unknown or differently shaped tensor.
    """
    state = _rename(read_state_dict(path), body)
    own = body.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(set(own) - set(state) - counters)
    unknown = sorted(key for key in set(state) - set(own) if not _is_classifier(key))
    shapes = sorted(
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in set(state) & set(own)
        if state[key].shape != own[key].shape
    )
    problems = [
        f"{what}: {', '.join(keys[:LISTED])}{f' and {len(keys) - LISTED} more' if len(keys) > LISTED else ''}"
        for what, keys in (("missing", missing), ("unknown", unknown), ("other shape", shapes))
        if keys
    ]
    if problems:
        raise UserError(
            f"{path} does not hold the weights of backbone {name}; {'; '.join(problems)}. Give a state dict in timm's "
            "names, or --weights none"
        )
    body.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a torch file that holds tensors only (no pickled code is run).

    A checkpoint that keeps them under `state_dict` or `model` is opened there. Raises UserError if it is neither.
    """
    from safetensors.torch import load_file as load_safetensors

    from headstart.reading import reading
    from headstart.torch_file import load_torch

    what = "The weights file"
    remedy = "Pass --weights none to train from scratch, or a .safetensors or torch file with tensors only"
    if path.suffix == ".safetensors":
        with reading(path, what, remedy):
            return load_safetensors(path)
    content = load_torch(path, what, remedy)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(_is_entry(*pair) for pair in content.items()):
        raise UserError(
            f"{path} holds no state dict: expected names with tensors, found {type(content).__name__}. Pass "
            "--weights none or another file"
        )
    return content


def _is_entry(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _rename(state: dict[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    # timm's feature networks flatten the first level of containers: stages.0.x becomes stages_0.x.
    own = set(body.state_dict())
    renamed = {}
    for key, value in state.items():
        flat = key.replace(".", "_", 1)
        renamed[flat if key not in own and flat in own else key] = value
    return renamed


def _is_classifier(key: str) -> bool:
    return key.split(".", 1)[0] in _CLASSIFIER_PARTS


def _cached_file(settings) -> Path | None:
    if not settings.hf_hub_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    names = [settings.hf_hub_filename] if settings.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    for name in names:
        found = try_to_load_from_cache(settings.hf_hub_id, name)
        if isinstance(found, str):
            return Path(found)
    return None


def _hub_address() -> str:
    from huggingface_hub.constants import ENDPOINT

    return ENDPOINT


def _unreachable(address: str) -> str | None:
    """Why the server does not answer; None if it answers anything, or only its certificate is not accepted."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except OSError as error:
        return str(error)
    return None
