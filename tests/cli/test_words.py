"""`key=value` words on the command line."""

import pytest
import typer

from headstart.cli import app
from headstart.cli.words import spell_out
from headstart.errors import UserError

COMMANDS = typer.main.get_command(app).commands


def read(line):
    verb, *words = line.split()
    command = COMMANDS[verb]
    if verb == "config":
        verb, command, words = "config show", command.commands["show"], words[1:]
    return " ".join(spell_out(words, command.params, f"headstart {verb}"))


@pytest.mark.parametrize(
    "line, understood",
    [
        ("train data=DIR model=fcos_r18 epochs=3", "--data DIR --student fcos_r18 --epochs 3"),
        ("train --data DIR student=fcos_r18 lr0=0.1", "--data DIR --student fcos_r18 --lr 0.1"),
        ("train batch_size=8 img_size=640 num_workers=2 project=x", "--batch 8 --imgsz 640 --workers 2 --out x"),
        ("train eval-every=2 eval_every=3", "--eval-every 2 --eval-every 3"),
        ("train clip=10 momentum=0.8 grad_clip=3", "--set train.clip=10 --set train.momentum=0.8 --set train.clip=3"),
        ("train train.gamma=0.2 data.flip=0", "--set train.gamma=0.2 --set data.flip=0"),
        ("train --set train.clip=10 seed=1", "--set train.clip=10 --seed 1"),
        ("train --cfg-options train.clip=10", "--cfg-options train.clip=10"),
        ("train ema=True quiet=1", "--ema --quiet"),
        ("train ema=false quiet=no", "--no-ema"),
        ("train name=a=b", "--name a=b"),
        ("distill teacher=a.pth teacher=b.pth method=head", "--teacher a.pth --teacher b.pth --method head"),
        ("distill distill_model=a.pth compare=true", "--teacher a.pth --compare"),
        ("val model=w.pth data=DIR", "w.pth --data DIR"),
        ("val data=DIR w.pth", "--data DIR w.pth"),
        ("predict source=photos weights=w.pth conf=0.5", "w.pth photos --threshold 0.5"),
        ("config show data=DIR model=fcos_r18", "--data DIR --student fcos_r18"),
        ("train -- a=b", "-- a=b"),
    ],
)
def test_words_become_options(line, understood):
    assert read(line) == understood


@pytest.mark.parametrize(
    "line, sentence",
    [
        (
            "train data=DIR model=fcos_r18 epoch=3",
            "There is no option 'epoch'; did you mean epochs? Then the command is: headstart train --data DIR "
            "--student fcos_r18 --epochs 3",
        ),
        (
            "train data=DIR qqqqqq=3",
            "There is no option 'qqqqqq'; `headstart train --help` lists them. Then the command is: headstart train "
            "--data DIR",
        ),
        (
            "distill studnt=fcos_r18 metod=head",
            "There is no option 'studnt' and no option 'metod'; did you mean student and method? Then the command is: "
            "headstart distill --student fcos_r18 --method head",
        ),
        (
            "val w.pth dta=DIR",
            "There is no option 'dta'; did you mean data? Then the command is: headstart val w.pth --data DIR",
        ),
        ("train ema=maybe", "ema=maybe: expected ema=true or ema=false."),
    ],
)
def test_wrong_keys_are_answered_with_the_whole_command(line, sentence):
    with pytest.raises(UserError) as caught:
        read(line)
    assert str(caught.value) == sentence


def test_a_file_whose_name_has_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=1.jpg").touch()
    assert read("predict w.pth x=1.jpg") == "w.pth x=1.jpg"


def test_a_word_too_long_for_a_file():
    assert read(f"train data={'x' * 5000}") == f"--data {'x' * 5000}"
