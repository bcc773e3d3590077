"""headstart models: the detectors that can be built."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from headstart.cli.errors import handle_errors
from headstart.terminal import say

MEASURED = 24
"""Of so many detectors the size is worked out, in half a second each; for all of them it would take minutes."""


@handle_errors
def models(text: Annotated[str | None, Argument(help="Only names that contain this.")] = None) -> None:
    """List the detectors that can be built, with what they can be to each other; of a few, their size.

    A whole name, backbone or family comes before names that only contain the text.
    """
    from headstart.backbones import SHORT_NAMES
    from headstart.detectors.flops import build_on_meta, count_flops
    from headstart.detectors.zoo import DETECTORS, FAMILIES
    from headstart.errors import UserError, did_you_mean
    from headstart.methods import refusals
    from headstart.report.table import listing, show

    word = (text or "").lower()
    names = sorted((name for name in DETECTORS if word in name), key=lambda name: word not in (name, *DETECTORS[name]))
    if not names:
        near = did_you_mean(text or "", DETECTORS, otherwise="`headstart models` without a name lists them all")
        raise UserError(f"No detector's name contains {text!r}{near}")
    few = len(names) <= MEASURED
    common: dict[str, dict[str, str]] = {}
    told: list[str] = []
    rows = []
    for name in names:
        family, short = DETECTORS[name]
        built = build_on_meta(name) if few or family not in common else None
        if built is not None and family not in common:
            common[family] = {"strides": f"{built.neck.strides[0]}..{built.neck.strides[-1]}"}
            missing = ", ".join(refusals(built))
            sentence = (FAMILIES[family].build.__doc__ or "").splitlines()[0]
            told.append(f"{family}: {sentence} Methods: {f'all but {missing}' if missing else 'all'}.")
        row: dict[str, str | float] = {"name": name, "backbone": SHORT_NAMES.get(short, short), **common[family]}
        if few and built is not None:
            size = count_flops(built)
            row["parameters (M)"] = round(size.parameters / 1e6, 1)
            row["GMACs"], row["GFLOPs"] = round(size.macs / 1e9, 1), round(size.flops / 1e9, 1)
        rows.append(row)
    show(listing(rows))
    if few:
        say("For one image of 800 x 1280 pixels, 80 classes, 1000 regions. One multiply-accumulate (MAC) is two FLOPs.")
    else:
        say(f"Sizes too where a part of a name leaves {MEASURED} or fewer: headstart models r18.")
    say("\n".join(told))
    say("With any other backbone of timm: --student retinanet --backbone resnet26d.")
