"""Tables: every column whole in a pipe, colour only on a terminal."""

import io

import pytest

from headstart.report.table import (
    as_text,
    difference,
    listing,
    number,
    pairing_table,
    per_class_table,
    results_table,
    show,
)

METRICS = {"AP": 41.25, "AP50": 60.0, "AP75": 44.0, "AP_S": None, "AP_M": 40.0, "AP_L": 55.0}
RESULTS = {
    "teacher": {**METRICS, "per_class": {"red cell": {"AP": 50.0}, "platelet": {"AP": None}}},
    "baseline": {**METRICS, "AP": 20.0, "per_class": {"red cell": {"AP": 30.0}, "platelet": {"AP": None}}},
    "head": {**METRICS, "AP": 26.1, "per_class": {"red cell": {"AP": 29.0}, "platelet": {"AP": None}}},
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines(table):
    return [line.split() for line in as_text(table).splitlines() if line.strip() and "─" not in line]


def test_results_with_gain():
    assert lines(results_table(RESULTS, baseline="baseline", title="Results")) == [
        ["Results"],
        ["AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "gain"],
        ["teacher", "41.2", "60.0", "44.0", "-", "40.0", "55.0"],
        ["baseline", "20.0", "60.0", "44.0", "-", "40.0", "55.0"],
        ["head", "26.1", "60.0", "44.0", "-", "40.0", "55.0", "+6.1"],
    ]


def test_results_without_a_baseline_have_no_gain():
    assert lines(results_table({"student": {"AP": 3.0}})) == [
        ["AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L"],
        ["student", "3.0", "-", "-", "-", "-", "-"],
    ]


@pytest.mark.parametrize("table", [results_table, per_class_table])
def test_an_unknown_baseline(table):
    with pytest.raises(ValueError, match="'plain' is not one of teacher, baseline, head"):
        table(RESULTS, baseline="plain")


def test_per_class():
    assert lines(per_class_table(RESULTS, baseline="baseline")) == [
        ["class", "teacher", "baseline", "head", "gain"],
        ["red", "cell", "50.0", "30.0", "29.0", "-1.0"],
        ["platelet", "-", "-", "-", "-"],
    ]
    two = per_class_table({**RESULTS, "pkd": RESULTS["head"]}, baseline="baseline")
    assert "gain of head" in as_text(two) and "gain of pkd" in as_text(two)
    assert "gain" not in as_text(per_class_table(RESULTS))


def test_a_listing_of_unequal_rows():
    rows = [{"name": "a", "weight": 0.5}, {"name": "b", "adapter": "linear", "weight": 2}]
    assert lines(listing(rows)) == [["name", "weight", "adapter"], ["a", "0.5", "-"], ["b", "2", "linear"]]
    assert lines(pairing_table([])) == [["What", "imitates", "what"], ["none"]]


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", "a:smile:"])
def test_names_are_not_markup(text):
    assert text in as_text(results_table({text: METRICS}))
    assert text in as_text(listing([{"name": text}]))


def test_a_pipe_never_loses_or_wraps_a_column(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = io.StringIO()
    show(listing([{"first": "x" * 150, "last": "end"}]), results_table(RESULTS), stream=stream)
    text = stream.getvalue()
    assert "x" * 150 + "   end\n" in text and "teacher" in text
    assert "\x1b" not in text and " \n" not in text


def test_a_stream_of_ascii_gets_ascii():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show(results_table({"étudiant": METRICS}), stream=stream)
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "?tudiant" in text and "41.2" in text


@pytest.mark.parametrize("plain", [False, True])
def test_colour_only_where_it_is_wanted(monkeypatch, plain):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    show(results_table(RESULTS, baseline="baseline"), stream=stream)
    assert ("32m+6.1" in stream.getvalue()) is not plain
    assert "+6.1" in stream.getvalue()


def test_a_narrow_terminal_still_gets_every_number(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    show(results_table(RESULTS, baseline="baseline"), stream=stream)
    for text in ("41.2", "60.0", "44.0", "40.0", "55.0", "+6.1", "baseline"):
        assert text in stream.getvalue()


@pytest.mark.parametrize(
    "value, baseline, text, style",
    [
        (3.0, 1.0, "+2.0", "bold green"),
        (1.0, 3.0, "-2.0", "bold red"),
        (1.0, 1.04, "+0.0", "dim"),
        (None, 1.0, "-", "dim"),
        (1.0, None, "-", "dim"),
    ],
)
def test_difference(value, baseline, text, style):
    shown = difference(value, baseline)
    assert (shown.plain, shown.style) == (text, style)


def test_number():
    assert number(1.26).plain == "1.3" and number(None).plain == "-" and number(1.26, 2).plain == "1.26"
