"""metrics.csv: one row per lane and reading, and one per evaluation."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.atomic import atomically
from headstart.reading import reading

Row = Mapping[str, object]
"""Column -> value; rows have at least `step`, the optimiser steps done."""


class MetricsFile:
    """A CSV file that grows by rows; a row with a new column rewrites it with that column added at the end.

    `keep_until` drops rows of later steps: those of a run that was killed after its last checkpoint. Raises UserError
    for a file whose rows have no step.
    """

    def __init__(self, path: Path, keep_until: int | None = None) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.exists():
            with reading(path, "The file of metrics", "Move it away: the run goes on without its rows"):
                rows = self._rows()
                if any(None in row for row in rows):
                    raise ValueError("a row has more cells than the first line names")
                kept = [row for row in rows if keep_until is None or int(row["step"]) <= keep_until]
            self.columns = list(rows[0]) if rows else []
            if keep_until is not None:
                self._rewrite(kept)

    def append(self, row: Row) -> None:
        """Writes the row at once."""
        strangers = [name for name in row if name not in self.columns]
        if strangers:
            self.columns += strangers
            self._rewrite(self._rows() if self.path.exists() else [])
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _rows(self) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: Sequence[Row]) -> None:
        with atomically(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
