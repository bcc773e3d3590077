import pytest

from headstart.errors import UserError
from headstart.strict_yaml import DEEPEST, NameLoader, parse_yaml, read_mapping

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("? [a, b]\n: 1", "a key must be a word"),
        ("? {a: b}\n: 1", "a key must be a word"),
        ("[" * 3000 + "]" * 3000, f"nested more than {DEEPEST} deep"),
        (BOMB, "more than 500000 values"),
        ("a: &a [1, *a]", "an alias stands inside of what it stands for"),
        ("a: &a {b: *a}", "an alias stands inside of what it stands for"),
        ("a: 1\na: 2", r"\(line 2, column 1\): key 'a' is given twice"),
        ("a: 2021-99-99", "month must be in"),
        ("a: " + "9" * 5000, "ValueError|digits"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("a: \0", "special characters are not allowed"),
    ],
)
def test_a_text_that_cannot_be_ends_in_a_sentence(text, told):
    with pytest.raises(UserError, match=f"r.yaml is not valid YAML.*(?:{told}).*Correct it") as raised:
        parse_yaml(text, "r.yaml")
    assert len(str(raised.value)) < 400


def test_aliases_and_merges_are_understood():
    text = "base: &base {lr: 1, clip: 2}\none: {<<: *base, lr: 3}\ntwo: *base\nagain: [*base, *base]"
    assert parse_yaml(text, "r.yaml") == {
        "base": {"lr": 1, "clip": 2},
        "one": {"lr": 3, "clip": 2},
        "two": {"lr": 1, "clip": 2},
        "again": [{"lr": 1, "clip": 2}] * 2,
    }


def test_names_are_words_and_null_is_null():
    assert parse_yaml("1: no\non: 010\nb: null", "m.yaml", NameLoader) == {"1": "no", "on": "010", "b": None}


def test_a_missing_file_has_a_neighbour(tmp_path):
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(UserError, match=r"does not exist; did you mean recipe\.yaml\?"):
        read_mapping(tmp_path / "recip.yaml", "recipe", "`a: b`")
    with pytest.raises(UserError, match="expected keys and values such as `a: b`, found a NoneType"):
        read_mapping(tmp_path / "recipe.yaml", "recipe", "`a: b`")
