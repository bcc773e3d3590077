"""Which names of detectors there are, known before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable

from headstart.backbones.names import SHORT_NAMES
from headstart.errors import did_you_mean

FAMILY_NAMES = ("retinanet", "fcos", "atss", "gfl", "reppoints", "rtmdet", "yolox", "fasterrcnn", "cascadercnn")
"""The keys of `headstart.detectors.zoo.FAMILIES`."""

SIZES: dict[str, tuple[str, str]] = {
    **{f"rtmdet_{size}": ("rtmdet", f"cspnext_{size}") for size in ("tiny", "s", "m", "l", "x")},
    **{f"yolox_{size}": ("yolox", f"csp_darknet_{size}") for size in ("nano", "tiny", "s", "m", "l", "x")},
}
"""Name of an official detector -> family and backbone; the backbone decides the rest."""


def unknown_detector(name: str, families: Iterable[str] = FAMILY_NAMES) -> str:
    """A sentence about a name that is no detector's, with the nearest ones.

    families  the ones that there are: `FAMILIES` may have grown since
    """
    families = list(families)
    near = did_you_mean(
        name, [*_with_backbones(families), *families], most=3, otherwise="`headstart models` lists them"
    )
    if name in families:
        near = f"; say which backbone: {name}_r18, or {name} with backbone=NAME."
    return f"no detector is called '{name}'{near}"


def is_detector(name: str, backbone: str | None) -> bool:
    """Whether a detector of this package has this name; with a backbone of its own, the name of a family will do."""
    return name in _with_backbones(FAMILY_NAMES) or (name in FAMILY_NAMES and backbone is not None)


def _with_backbones(families: Iterable[str]) -> list[str]:
    return [*SIZES, *(f"{family}_{short}" for family in families for short in SHORT_NAMES)]
