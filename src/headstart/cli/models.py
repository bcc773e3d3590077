"""headstart models: the detectors that can be built."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from headstart.cli.errors import handle_errors
from headstart.terminal import say

MEASURED = 12
"""Of so many detectors the size is worked out; for all of them it would take minutes."""


@handle_errors
def models(text: Annotated[str | None, Argument(help="Only names that contain this.")] = None) -> None:
    """List the detectors that can be built, with what they can be to each other; of a few, their size."""
    from headstart.backbones import SHORT_NAMES
    from headstart.detectors.flops import build_on_meta, count_flops
    from headstart.detectors.zoo import DETECTORS, FAMILIES
    from headstart.errors import UserError, did_you_mean
    from headstart.methods import roles
    from headstart.report.table import listing, show

    names = [name for name in DETECTORS if text is None or text.lower() in name]
    if not names:
        near = did_you_mean(text or "", DETECTORS, otherwise="`headstart models` without a name lists them all")
        raise UserError(f"No detector's name contains {text!r}{near}")
    few = len(names) <= MEASURED
    common = {}
    for family in dict.fromkeys(DETECTORS[name][0] for name in names):
        example = build_on_meta(f"{family}_r18")
        common[family] = {"strides": f"{example.neck.strides[0]}..{example.neck.strides[-1]}", **roles(example)}
    rows = []
    for name in names:
        family, short = DETECTORS[name]
        row: dict[str, str | float] = {"name": name, "backbone (timm)": SHORT_NAMES[short], **common[family]}
        if few:
            size = count_flops(build_on_meta(name))
            row["parameters (M)"] = round(size.parameters / 1e6, 1)
            row["GMACs"], row["GFLOPs"] = round(size.macs / 1e9, 1), round(size.flops / 1e9, 1)
        rows.append(row)
    show(listing(rows))
    if few:
        say("For one image of 800 x 1280 pixels, 80 classes, 1000 regions. One multiply-accumulate (MAC) is two FLOPs.")
    else:
        say(f"Sizes too where a part of a name leaves {MEASURED} or fewer: headstart models r18.")
    say("\n".join(f"{name}: {(family.build.__doc__ or '').splitlines()[0]}" for name, family in FAMILIES.items()))
    say("With any other backbone of timm: --student retinanet --backbone resnet26d.")
