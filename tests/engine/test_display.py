import io

import pytest

from headstart.engine.display import Display, duration
from headstart.engine.recorder import Summary

HEAD = Summary({"student/box": 1.5, "akd/fc0": 0.25, "ckd": 0.5}, {}, 3.0)
PLAIN = Summary({"student/box": 1.25}, {}, 2.0)


def make(**options) -> tuple[Display, io.StringIO]:
    display = Display(["baseline", "head"], 100, 20, 4, **options)
    display.stream = io.StringIO()
    return display, display.stream


def test_lines_have_detection_and_distillation_apart():
    display, stream = make()
    display.start(0)
    display.show(10, {"baseline": PLAIN, "head": HEAD}, {"baseline": 0.01, "head": 0.01})
    line = stream.getvalue()
    assert "step 10/100" in line and "left" in line and "images/s" in line
    assert "baseline: detection 1.250  lr" in line
    assert "head: detection 1.500  distillation 0.750" in line


def test_few_lines_where_there_is_no_terminal():
    display, stream = make()
    display.start(0)
    for step in range(1, 101):
        display.show(step, {"baseline": PLAIN}, {"baseline": 0.01})
    assert len(stream.getvalue().splitlines()) == 2  # the first and the last


def test_the_table_of_a_terminal():
    display, _ = make()
    display.start(0)
    display.show(10, {"head": HEAD}, {"head": 0.01})
    display.lanes["head"].ap = 12.34
    display.evaluating("head", 3, 7)
    table = display._table()
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns["distillation"] == ["", "0.750"]
    assert columns["last AP"] == ["-", "12.3"]
    assert table.caption == "evaluating head: 3 of 7 batches"


def test_evaluations_are_counted_in_the_time_left(monkeypatch):
    display, _ = make(evaluations=(20, 40, 60, 80, 100))
    display.start(0)
    monkeypatch.setattr(Display, "speed", 0.5)
    assert display._left() == "-"
    display.step = 20
    assert display._left() == "2:40 and 4 evaluations"
    display.evaluated(30)
    display.evaluated(60)
    assert display._left() == "5:40"  # 160 s of training and four times 45 s
    display.step = 90
    assert display._left() == "1:05"
    display.step = 100
    assert display._left() == "0:00"
    display, _ = make(evaluations=(100,))
    display.step = 50
    assert display._left() == "1:40 and 1 evaluation"
    display, _ = make()
    display.step = 50
    assert display._left() == "1:40"


def test_an_evaluation_is_announced_where_there_is_no_terminal():
    display, stream = make()
    display.start(0)
    display.begin_evaluation("head", 124)
    assert stream.getvalue() == "evaluating head: 124 images\n"


def test_silence():
    display, stream = make(silent=True)
    display.start(0)
    display.show(100, {"head": HEAD}, {"head": 0.01})
    display.scored("head", 1, {"AP": 1.0})
    assert stream.getvalue() == ""


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (187, "3:07"), (3753, "1:02:33")])
def test_duration(seconds, text):
    assert duration(seconds) == text
