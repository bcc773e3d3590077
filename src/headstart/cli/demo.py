"""headstart demo: the whole way, without any data of one's own."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from headstart.cli.errors import handle_errors


@handle_errors
def demo(
    out: Annotated[str, Option("--out", help="Folder for the data, the runs and the picture.")] = "demo",
    quick: Annotated[bool, Option("--quick", help="Under two minutes; too short for a gain.")] = False,
    seed: Annotated[int, Option("--seed", help="Start value of all randomness.")] = 0,
    device: Annotated[str, Option("--device", help="auto | cpu | cuda ...")] = "auto",
) -> None:
    """Draw a data set, train a teacher, and train a student without it, with HEAD and with CrossKD.

    Nothing is downloaded; minutes on two cores.
    """
    from headstart.demo import run_demo

    run_demo(out, quick=quick, seed=seed, device=device)
