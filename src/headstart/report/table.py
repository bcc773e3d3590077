"""Tables for the terminal; in a pipe or a file the same tables as plain text, every column whole."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO, TextIOWrapper
from typing import Literal, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from headstart.evaluation.metrics import Metrics
from headstart.terminal import printable

Score = Literal["AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L"]
METRICS: tuple[Score, ...] = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L")
UNDEFINED = "-"


def results_table(
    results: Mapping[str, Metrics],
    *,
    baseline: str | None = None,
    teachers: Collection[str] = ("teacher",),
    title: str | None = None,
) -> Table:
    """One row per detector: its COCO numbers, and what its AP gains over the baseline's.

    results: name to metrics, in the order of the rows. The teachers and the baseline themselves have no gain; without a
    baseline there is no such column. Raises ValueError if the baseline is not among the results.
    """
    reference = _reference(results, baseline)
    table = _table(title)
    _text_column(table, "")
    for name in METRICS:
        _number_column(table, name)
    if reference is not None:
        _number_column(table, "gain")
    for name, metrics in results.items():
        cells = [Text(printable(name)), *(number(metrics.get(metric)) for metric in METRICS)]
        if reference is not None:
            own = name not in (baseline, *teachers)
            cells.append(difference(metrics.get("AP"), reference.get("AP")) if own else Text(""))
        table.add_row(*cells)
    return table


def per_class_table(
    results: Mapping[str, Metrics],
    *,
    baseline: str | None = None,
    teachers: Collection[str] = ("teacher",),
    metric: Score = "AP",
    title: str | None = None,
) -> Table:
    """One row per class, one column per detector, and for each lane other than the baseline its gain.

    results: name to metrics with `per_class`. Raises ValueError if the baseline is not among the results.
    """
    reference = _reference(results, baseline)
    lanes = [name for name in results if reference is not None and name not in (baseline, *teachers)]
    table = _table(title)
    _text_column(table, "class")
    for name in results:
        _number_column(table, name)
    for name in lanes:
        _number_column(table, "gain" if len(lanes) == 1 else f"gain of {name}")
    classes = dict.fromkeys(name for metrics in results.values() for name in metrics["per_class"])
    for name in classes:
        value = {who: metrics["per_class"].get(name, {}).get(metric) for who, metrics in results.items()}
        gains = [difference(value[lane], value[baseline]) for lane in lanes if baseline is not None]
        table.add_row(Text(printable(name)), *(number(value[who]) for who in results), *gains)
    return table


def pairing_table(rows: Sequence[Mapping[str, object]], *, title: str | None = "What imitates what") -> Table:
    """Who imitates whom, one dictionary per row as `Method.describe()` gives them."""
    return listing(rows, title=title)


def listing(rows: Sequence[Mapping[str, object]], *, title: str | None = None) -> Table:
    """Any rows as a table: the keys are the columns, in the order they first appear; without rows it says "none"."""
    table = _table(title)
    columns = dict.fromkeys(key for row in rows for key in row)
    if not columns:
        table.add_column("")
        table.add_row("none")
    for name in columns:
        values = [row[name] for row in rows if row.get(name) is not None]
        numeric = bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        (_number_column if numeric else _text_column)(table, str(name))
    for row in rows if columns else []:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    return table


def number(value: float | None, digits: int = 1) -> Text:
    """A number of fixed digits; a dash where it is undefined."""
    return Text(UNDEFINED, style="dim") if value is None else Text(f"{value:.{digits}f}")


def difference(value: float | None, baseline: float | None, digits: int = 1) -> Text:
    """How much is gained, with its sign, green or red; the style follows the digits that are shown."""
    if value is None or baseline is None:
        return Text(UNDEFINED, style="dim")
    shown = round(value - baseline, digits) + 0.0  # -0.0 becomes 0.0
    style = "bold green" if shown > 0 else "bold red" if shown < 0 else "dim"
    return Text(f"{shown:+.{digits}f}", style=style)


def show(*tables: Table, stream: TextIO | None = None) -> None:
    """Print tables: in colour on a terminal (NO_COLOR is respected), as plain text of natural width elsewhere."""
    stream = stream or sys.stdout
    if not stream.isatty():
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write("\n".join(as_text(table, encoding) for table in tables))
        return
    for table in tables:
        # A terminal too narrow for the shortest form breaks the lines, rather than losing a column.
        console = Console(file=stream)
        needed = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
        Console(file=stream, width=max(console.width, needed)).print(table)


def as_text(table: Table, encoding: str = "utf-8") -> str:
    """The table without colour, as wide as its content, lines without trailing blanks."""
    # A stream that tells rich its encoding, so that rules become ASCII where the reader has nothing else.
    target = TextIOWrapper(BytesIO(), encoding=encoding, errors="replace", newline="\n")
    console = Console(file=target, force_terminal=False, color_system=None, no_color=True, width=10_000)
    console.print(table, width=Measurement.get(console, console.options, table).maximum)
    target.seek(0)
    return "\n".join(line.rstrip() for line in target.read().splitlines()).strip("\n") + "\n"


def _table(title: str | None) -> Table:
    # rich breaks a title at the width of its table, unless that is made wide enough.
    width = cell_len(title) + 2 if title else None
    return Table(
        title=None if title is None else Text(printable(title), style="bold"),
        title_justify="left",
        min_width=width,
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )


def _heading(text: str) -> Text:
    """As it is: a class or a lane may be called [red]."""
    return Text(printable(text))


def _text_column(table: Table, name: str) -> None:
    table.add_column(_heading(name), overflow="fold")


def _number_column(table: Table, name: str) -> None:
    table.add_column(_heading(name), justify="right", no_wrap=True)


def _cell(value: object) -> Text:
    if value is None:
        return Text(UNDEFINED, style="dim")
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    return Text(printable(str(value)))


def _reference(results: Mapping[str, Metrics], baseline: str | None) -> Metrics | None:
    if baseline is not None and baseline not in results:
        raise ValueError(f"baseline {baseline!r} is not one of {', '.join(results)}")
    return results[baseline] if baseline is not None else None
