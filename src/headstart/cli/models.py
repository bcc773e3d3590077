"""headstart models: the detectors that can be built."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from headstart.cli.errors import spoken


@spoken
def models(text: Annotated[str | None, Argument(help="Only names that contain this.")] = None) -> None:
    """List the detectors that can be built, by name."""
    from headstart.backbones import SHORT_NAMES
    from headstart.detectors.zoo import DETECTORS, FAMILIES
    from headstart.errors import UserError
    from headstart.recipe import hint
    from headstart.report.table import listing, show

    rows = [
        {"name": name, "backbone (timm)": SHORT_NAMES[short], "family": family}
        for name, (family, short) in DETECTORS.items()
        if text is None or text.lower() in name
    ]
    if not rows:
        raise UserError(f"No detector's name contains {text!r}{hint(text or '', DETECTORS)}.")
    show(listing(rows))
    print("\n".join(f"{name}: {(build.__doc__ or '').splitlines()[0]}" for name, build in FAMILIES.items()))
    print("With any other backbone of timm: --student retinanet --backbone resnet26d.")
