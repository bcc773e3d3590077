import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headstart.config import Run
from headstart.errors import UserError
from headstart.recipe import check_run, dump_run, load_run, parse_yaml, place_options, plain_run, set_key

MINIMAL = {"data": "pictures", "student": "retinanet_r18"}
DISTIL = {**MINIMAL, "teacher": "runs/teacher/student.safetensors", "method": "head"}


def write(folder: Path, tree: dict) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_short_forms():
    run = load_run(None, DISTIL)
    assert run.data.path == "pictures"
    assert run.student.name == "retinanet_r18"
    assert run.teacher is not None and run.teacher.file == "runs/teacher/student.safetensors"
    assert list(run.choices) == ["head"]
    assert run.reference is None


def test_everything_wrong_is_listed_at_once_with_the_nearest_name(tmp_path):
    tree = {
        "data": {"path": "x", "flipp": 0.5, "bad_data": "skp"},
        "student": {"name": "retinanet_r18", "backbon": "resnet34"},
        "train": {"lr0": 0.1, "epochs": -1},
        "trian": {},
    }
    with pytest.raises(UserError) as caught:
        load_run(write(tmp_path, tree))
    message = str(caught.value)
    for part in (
        "recipe.yaml",
        "data.flipp: there is no such key; did you mean flip?",
        "data.bad_data",
        "did you mean skip?",
        "student.backbon: there is no such key; did you mean backbone?",
        "train.lr0: there is no such key; did you mean lr?",
        "train.epochs",
        "trian: there is no such key; did you mean train?",
    ):
        assert part in message


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"method": "head"}, "needs a teacher"),
        ({"student": {"name": "retinanet_r18", "read_as": "x"}}, "read_as is for a detector from a foreign file"),
        ({"teacher": "a/b.safetensors"}, "no method that would use it"),
        ({"baseline": True}, "beside a method that distils"),
        ({"train": {"epochs": 3, "steps": 5}}, "one of epochs, steps and schedule"),
        ({"data": {"path": "x", "imgsz": 5, "short": 3, "long": 4}}, "either imgsz, or short and long"),
        ({"data": {"path": "x", "short": 3}}, "go together"),
        ({"data": {"path": "x", "mosaic": 1.5}}, r"data\.mosaic: .*less than or equal to 1, found 1\.5"),
        ({"data": {"path": "x", "short": 3, "long": 4, "mixup": 0.5}}, "mixup makes square images: .*imgsz"),
        ({"data": {"path": "x", "short": 3, "long": 4, "square": True}}, "square makes square images: .*imgsz"),
        ({"data": {"path": "x", "imgsz": 100, "square": True}}, "multiple of 32 such as 128"),
        ({"data": {"path": "x", "scale": [2, 0.5]}}, r"the least comes first, found \[2\.0, 0\.5\]"),
        ({"data": {"path": "x", "scale": 2}}, r"data\.scale: .*found 2"),
        ({"data": {"path": "x", "scale": [0.5, 11]}}, r"data\.scale\.1: .*found 11"),
        ({"data": {"path": "x", "mosaic_off": 1}}, r"data\.mosaic_off: .*less than 1"),
        ({"data": {"path": "x", "rotate": 200}}, r"data\.rotate: .*less than or equal to 180"),
        ({"data": {"path": "x", "shear": -1}}, r"data\.shear: .*greater than or equal to 0"),
        ({"data": {"path": "x", "mixup": 0.5, "mixup_mosaic": True}}, "it needs mosaic and mixup above 0"),
        ({"data": {"path": "x", "multi_scale": [320, 500]}}, r"multiples of 32, found \[320, 500\]"),
        ({"data": {"path": "x", "multi_scale": [640, 320]}}, r"\[least, most\].*found \[640, 320\]"),
        ({"data": {"path": "x", "short": 3, "long": 4, "multi_scale": [32, 64]}}, "give imgsz, not short and long"),
        ({"data": {"path": "x", "mosaik": 1}}, r"data\.mosaik: .*did you mean mosaic"),
        ({"train": {"optimizer": "adamw", "nesterov": True}}, "nesterov is a kind of momentum: .*optimizer sgd"),
        ({"train": {"momentum": 0, "nesterov": True}}, "nesterov .*momentum above 0"),
        ({"train": {"ema": "exponental"}}, r"train\.ema: "),
        ({"train": {"decay": "flat"}}, r"train\.decay: .*flat-cosine"),
        ({"student": {"name": "a", "file": "b"}}, "either name"),
        ({"lanes": {"a": "head"}, "method": "head", "teacher": "t/x"}, "either method"),
        ({"lanes": {"../a": "baseline"}}, "folder"),
        ({"class_map": {"a": "b"}}, "there is no teacher and no such file"),
        ({"class_map": {5: "b"}}, r"class_map\.5.*found 5"),
        ({"data": {}}, "data.path: missing"),
        ({"method": "head"}, r"needs a teacher .*--assistants auto"),
        ({"lanes": {"a": {"name": "head", "assistants": "auto"}, "b": "head"}}, "method head needs a teacher"),
        ({"lanes": {"a": "head"}, "teacher": "t/x", "method": {"assistants": "auto"}}, r"lanes\.LANE\.OPTION"),
        ({"lanes": {"teacher": "head"}, "teacher": "t/x"}, "a lane cannot be called teacher"),
        ({"method": "head", "teacher": []}, "teacher: list should have at least 1 item"),
        ({"method": "head", "teacher": ["a/b", {"name": "c", "file": "d"}]}, r"teacher\.1: give either name"),
        ({"method": "head", "teacher": ["a/b", {"fil": "d"}]}, r"teacher\.1\.fil: .*did you mean file\?"),
        ({"method": "head", "teacher": {"fil": "d"}}, r"teacher\.fil: .*did you mean file\?"),
        ({"method": "head", "teacher": 5}, "teacher: input should be a valid dictionary .*found 5"),
    ],
)
def test_impossible_settings(changes, expected):
    with pytest.raises(UserError, match=expected):
        load_run(None, {**MINIMAL, **changes})


@pytest.mark.parametrize("word, meaning", [("none", False), ("imagenet", True), ("a/b.pth", "a/b.pth"), (False, False)])
def test_words_for_weights(word, meaning):
    assert load_run(None, {**MINIMAL, "student.pretrained": word}).student.pretrained == meaning


def test_settings_override_recipe_and_short_forms(tmp_path):
    path = write(tmp_path, {**DISTIL, "train": {"epochs": 2}})
    run = load_run(path, {"train.seed": 7}, ["student.backbone=resnet34", "train.lr=1e-3", "method.weights=paper"])
    assert run.student.name == "retinanet_r18" and run.student.backbone == "resnet34"
    assert run.train.lr == 1e-3 and run.train.seed == 7 and run.train.epochs == 2
    assert run.method is not None and run.method.options == {"weights": "paper"}


@pytest.mark.parametrize("setting", ["student.backbone", "=3", "train.lr=[1"])
def test_bad_setting(setting):
    with pytest.raises(UserError, match="--set"):
        load_run(None, MINIMAL, [setting])


@pytest.mark.parametrize(
    "tree",
    [
        MINIMAL,
        DISTIL,
        {**DISTIL, "baseline": True, "train": {"clip": None, "ema": 0.99, "milestones": [3, 4]}},
        {**MINIMAL, "data": {"path": "x", "mosaic": 0.5, "scale": [0.5, 2]}, "train": {"ema": "exponential"}},
        {**MINIMAL, "data": {"path": "x", "short": [640, 800], "long": 1333, "classes": ["a", "b"]}},
        {**DISTIL, "class_map": {"tvmonitor": "tv", "zebra": None}},
        {**DISTIL, "teacher": ["a/b.safetensors", {"file": "c.pth", "read_as": "fasterrcnn"}]},
        {**MINIMAL, "method": {"name": "head", "assistants": "auto"}, "baseline": True},
        {**MINIMAL, "method": {"name": "head", "assistants": {"fcos": {"weight": 2}, "fasterrcnn": None}}},
        {**DISTIL, "method": None, "lanes": {"plain": "baseline", "akd": {"name": "head", "ckd": False}}},
        {**DISTIL, "method": {"name": "head", "ckd_stop": None, "assistants": None}},
        {**DISTIL, "method": ["head", {"name": "pkd", "weight": 2, "warmup": None}], "baseline": True},
        {**DISTIL, "method": None, "lanes": {"a": "head+pkd", "b": {"name": "head+pkd", "teachers": ["t"]}}},
    ],
)
def test_round_trip(tree, tmp_path):
    run = load_run(None, tree)
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(run))
    assert load_run(path) == run


def test_a_class_map_may_stand_in_a_file(tmp_path):
    """Whatever a class is called: in the file all is text but null."""
    file = tmp_path / "names.yaml"
    file.write_text("tvmonitor: tv\n5: no\nzebra: null\ntrain:\n")
    expected = {"tvmonitor": "tv", "5": "no", "zebra": None, "train": None}
    assert load_run(None, {**DISTIL, "class_map": str(file)}).class_map == expected
    recipe = write(tmp_path, {**DISTIL, "class_map": str(file)})
    assert load_run(recipe, None, ["class_map.zebra=dog"]).class_map == expected | {"zebra": "dog"}
    recipe = write(tmp_path, {**DISTIL, "class_map": {"a": "b"}})
    assert load_run(recipe).class_map == {"a": "b"}
    assert load_run(recipe, {"class_map": str(file)}).class_map == expected
    file.write_text("a: b\na: c\n")
    with pytest.raises(UserError, match="given twice"):
        load_run(None, {**DISTIL, "class_map": str(file)})
    file.write_text("a: [b]\n")
    with pytest.raises(UserError, match=r"names\.yaml: a: expected the name of a class, or null .*found \['b'\]"):
        load_run(None, {**DISTIL, "class_map": str(file)})
    with pytest.raises(UserError, match=r"class map .*name\.yaml does not exist; did you mean names\.yaml"):
        load_run(None, {**DISTIL, "class_map": str(tmp_path / "name.yaml")})


def test_one_or_several_teachers():
    several = {**DISTIL, "teacher": ["a/b.safetensors", {"file": "c.pth", "read_as": "fasterrcnn"}]}
    run = load_run(None, several)
    assert [choice.file for choice in run.teachers] == ["a/b.safetensors", "c.pth"]
    assert [choice.read_as for choice in run.teachers] == [None, "fasterrcnn"]
    assert (
        load_run(None, DISTIL).teachers == [load_run(None, DISTIL).teacher] and load_run(None, MINIMAL).teachers == []
    )
    with pytest.raises(UserError, match=r"teacher\.file: teacher is a list of 2 here.*Give the whole list"):
        load_run(None, several, ["teacher.file=x.pth"])
    replaced = load_run(None, several, ["teacher=[{file: x.pth}, y.pth]"])
    assert [choice.file for choice in replaced.teachers] == ["x.pth", "y.pth"]
    assert load_run(None, DISTIL, ["teacher.file=x.pth"]).teachers[0].file == "x.pth"


@pytest.mark.parametrize("given", ["x.pth", ["x.pth"], ("x.pth",)])
def test_a_teacher_given_once_is_one_and_keeps_the_recipes_other_keys(given):
    recipe = {**DISTIL, "teacher": {"file": "c.pth", "read_as": "fasterrcnn"}}
    for key, value in place_options({"teacher": given}).items():
        set_key(recipe, key, value)
    assert recipe["teacher"] == {"file": "x.pth", "read_as": "fasterrcnn"}
    assert place_options({"teacher": []}) == place_options({"teacher": None}) == {}


def test_assistants_in_place_of_a_teacher():
    run = load_run(None, {**MINIMAL, **place_options({"method": "head", "assistants": ["fcos"], "compare": True})})
    assert run.teacher is None and run.distils and run.reference == "baseline"
    assert run.choices["head"].options == {"assistants": ["fcos"]}
    with pytest.raises(UserError, match="needs a teacher"):
        load_run(None, {**MINIMAL, "method": {"name": "head", "assistants": None}})


SEVERAL = {"name": "head+pkd", "head": {}, "pkd": {"weight": 2}}


@pytest.mark.parametrize(
    "method, settings",
    [
        (["head", {"name": "pkd", "weight": 2}], []),
        ({"name": "head + pkd", "pkd": {"weight": 2}}, []),
        ({"name": "head+pkd", "head": None, "pkd": {"weight": 2}}, []),
        ("head+pkd", ["method.pkd.weight=2"]),
        (["head", "pkd"], ["method.pkd.weight=2"]),
        (["head+pkd"], ["method.pkd={weight: 2}"]),
        ({"name": "fgd", "alpha": 1}, ["method=head+pkd", "method.pkd.weight=2"]),
        (["head", {"name": "pkd", "weight": 2}], ["method=head+pkd"]),
    ],
)
def test_several_methods_in_one_run_have_one_normal_form(method, settings):
    run = load_run(None, {**DISTIL, "method": method}, settings)
    assert list(run.choices) == ["head+pkd"] and run.distils
    assert run.choices["head+pkd"].model_dump() == SEVERAL
    assert run.choices["head+pkd"].parts == [("head", {}), ("pkd", {"weight": 2})]
    assert run.choices["head+pkd"].options == {"head": {}, "pkd": {"weight": 2}}
    lanes = {**DISTIL, "method": None, "lanes": {"both": method, "plain": "baseline"}}
    lane = load_run(None, lanes, [setting.replace("method", "lanes.both") for setting in settings if "." in setting])
    if method != {"name": "fgd", "alpha": 1}:
        assert lane.choices["both"].model_dump() == SEVERAL and lane.reference == "plain"


def test_one_method_stays_as_it_is():
    for method in ("head", ["head"], {"name": "head"}):
        run = load_run(None, {**DISTIL, "method": method}, ["method.regions=64"])
        assert run.choices["head"].parts == [("head", {"regions": 64})]
        assert run.choices["head"].model_dump() == {"name": "head", "regions": 64}


def test_which_methods_need_a_teacher():
    def needs(method):
        return load_run(None, {**DISTIL, "method": method}).choices.popitem()[1].needs_teacher

    assert needs("head+pkd") and needs("head")
    assert needs({"name": "head+pkd", "head": {"assistants": "auto"}})
    assert not needs({"name": "head+pkd", "head": {"assistants": "auto"}, "pkd": {"assistants": ["fcos"]}})
    assert not needs({"name": "head", "assistants": "auto"})


@pytest.mark.parametrize(
    "method, expected",
    [
        ({"name": "head+pkd", "regions": 64}, r"^method\.regions: say of which method: method\.head\.regions\.$"),
        ("head+baseline", "method: baseline adds nothing to another method"),
        (["head", "pkd", "head"], "method: method head is named twice in head\\+pkd\\+head"),
        ("head+", "a method is missing beside a \\+"),
        ([], "method: expected at least one method"),
        (["head", 5], r"expected methods such as \[head, .*found 5 among them"),
        ({"name": "head+pkd", "pkd": 2}, "the options of pkd must be a mapping .*found 2"),
        ({"name": "head+pkd", "pkd": {"teachers": ["a"]}}, "teachers stands beside the methods"),
        ([{"name": "head+pkd", "weight": 2}, "fgd"], "give each of the methods head\\+pkd an entry of its own"),
        (5, "method: input should be a valid dictionary .*found 5"),
    ],
)
def test_impossible_combinations(method, expected):
    with pytest.raises(UserError, match=expected):
        load_run(None, {**DISTIL, "method": method})


def test_an_option_beside_the_methods_of_a_lane_is_placed():
    tree = {**DISTIL, "method": None, "lanes": {"both": "head+pkd"}}
    with pytest.raises(UserError, match=r"lanes\.both\.regions: say of which method: lanes\.both\.head\.regions"):
        load_run(None, tree, ["lanes.both.regions=64"])
    with pytest.raises(UserError, match="method: method head is named twice"):
        load_run(None, {**DISTIL, "method": ["head", "head"]}, ["method.head.regions=64"])


@pytest.mark.parametrize("method", ["head+pkd", ["pkd", "head"], {"name": "head+pkd", "pkd": {"weight": 2}}])
def test_assistants_of_several_methods_are_heads(method):
    run = load_run(None, {**DISTIL, **place_options({"method": method, "assistants": "auto"})})
    parts = dict(run.choices.popitem()[1].parts)
    assert parts["head"] == {"assistants": "auto"} and "assistants" not in parts["pkd"]
    with pytest.raises(UserError, match=r"say of which method: method\.pkd\.assistants"):
        load_run(None, {**DISTIL, **place_options({"method": "pkd+fgd", "assistants": "auto"})})


@pytest.mark.parametrize("setting", ["method.ckd_stop=null", "lanes.a.ckd_stop=null", "lanes.a.pkd.stop=null"])
def test_null_of_a_user_is_written_and_read_as_null(setting, tmp_path):
    """Not the same as an option that was left out, whose default may be another value."""
    several = "pkd" in setting
    method = {"lanes": {"a": "head+pkd" if several else "head"}} if "lanes" in setting else {"method": "head"}
    tree = {key: value for key, value in DISTIL.items() if key != "method"}
    run = load_run(None, {**tree, **method}, [setting])
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(run))
    for found in (
        run,
        load_run(path),
        check_run(plain_run(run)),
        Run.model_validate(run.model_dump(exclude_none=True)),
    ):
        options = next(iter(found.choices.values())).options
        assert options == ({"head": {}, "pkd": {"stop": None}} if several else {"ckd_stop": None})


def test_dumps_leave_out_what_is_not_set():
    plain = plain_run(load_run(None, DISTIL, ["train.clip=null"]))
    assert plain["train"]["clip"] is None and "steps" not in plain["train"]
    assert "lanes" not in plain and "class_map" not in plain and plain["method"] == {"name": "head"}


def test_baseline_lane_comes_first():
    run = load_run(None, {**DISTIL, "baseline": True})
    assert list(run.choices) == ["baseline", "head"]
    assert run.reference == "baseline"


def test_a_key_given_twice_is_an_error():
    with pytest.raises(UserError, match="given twice"):
        parse_yaml("a: 1\na: 2\n", "x.yaml")


def test_missing_recipe_names_the_nearest(tmp_path):
    write(tmp_path, MINIMAL)
    with pytest.raises(UserError, match=r"did you mean recipe\.yaml"):
        load_run(tmp_path / "recipes.yaml")


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_recipe_is_valid(path):
    assert isinstance(load_run(path), Run)


def test_no_torch_is_imported():
    code = "import headstart.recipe, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
