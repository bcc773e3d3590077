import io

from rich.table import Table

from headstart.report.table import as_text, listing
from headstart.terminal import printable, say

HOSTILE = "car\x1b]0;owned\x07\x1b[31m\u202e\u2028\x9b2J\r\b\udcff\ud800"


def test_nothing_steers_the_terminal():
    assert printable(HOSTILE) == (r"car\x1b]0;owned\x07\x1b[31m\u202e\u2028\x9b2J\r\x08\xff\ud800")


def test_words_of_every_language_stay():
    for text in ("plain", "röd 🚗 [/b]car", "汽车\n\tzwei", "é"):
        assert printable(text) == text


def test_a_stream_without_the_letters_gets_question_marks():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    say("röd \x1b", stream=stream)
    stream.seek(0)
    assert stream.read() == "r?d \\x1b\n"


def test_tables_show_names_as_they_are_and_no_codes():
    table = listing([{"[red]class\x1b": "[/b]car\x1b[31m"}], title="\x1b[1m[b]")
    assert isinstance(table, Table)
    text = as_text(table)
    assert "\x1b" not in text and r"[/b]car\x1b[31m" in text and r"[red]class\x1b" in text and r"\x1b[1m[b]" in text
