"""Class maps: which names belong together, and what that means for numbers."""

import pytest
import torch
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from headstart.classmap import LEFT_OUT, match_classes, spelling
from headstart.errors import UserError
from headstart.structures import CellIndex, Detections

COCO_91 = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
COCO_80 = [name for name in COCO_91 if name not in ("__background__", "N/A")]
VOC = ["aeroplane", "sofa", "tvmonitor", "person", "diningtable", "motorbike", "pottedplant", "sheep"]
IN_COCO = ["airplane", "couch", "tv", "person", "dining table", "motorcycle", "potted plant", "sheep"]


def test_vocs_words_for_cocos_classes():
    found = match_classes(COCO_80, VOC)
    assert [found.sources(number) for number in range(8)] == [(name,) for name in IN_COCO]
    assert found.unmatched_student == () and len(found.unmatched_teacher) == 72 and not found.merges
    back = match_classes(VOC, COCO_80)
    assert [COCO_80[number] for number in back.goal] == IN_COCO
    assert len(back.known) == 8 and len(back.unmatched_student) == 72


def test_ninety_one_numbers_against_eighty():
    """Gaps and background match nothing, not even each other, and are nobody's loss."""
    found = match_classes(COCO_91, list(reversed(COCO_80)))
    assert len(COCO_91) == 91 and found.unmatched_teacher == found.unmatched_student == ()
    for name, number in zip(COCO_91, found.goal):
        assert number == (LEFT_OUT if name in ("__background__", "N/A") else 79 - COCO_80.index(name))
    assert match_classes(COCO_91, COCO_91).goal[0] == LEFT_OUT and not match_classes(COCO_91, COCO_91).identical


@pytest.mark.parametrize("name", ["potted plant", "Potted_Plant", "POTTED-PLANT", "pottedplant"])
def test_spellings(name):
    assert spelling(name) == "pottedplant"
    assert match_classes([name], ["cat", "potted plant"]).goal == (1,)


def test_different_words_stay_different():
    assert len({spelling(name) for name in ("C++", "C#", "grade A+", "grade A", "\u732b", "\u72d7")}) == 6


def test_the_very_name_goes_before_another_spelling():
    assert match_classes(["tv", "TV"], ["TV", "tv"]).goal == (1, 0)
    with pytest.raises(UserError, match=r"'Tv' may be the student's 'TV' or 'tvmonitor'.*--class-map"):
        match_classes(["Tv"], ["TV", "tvmonitor"])
    assert match_classes(["Tv"], ["TV", "tvmonitor"], {"Tv": "tvmonitor"}).goal == (1,)


def test_identical_is_a_matter_of_numbers():
    assert match_classes(["tvmonitor", "cat"], ["tv", "cat"]).identical
    assert not match_classes(["cat", "tv"], ["tv", "cat"]).identical
    assert not match_classes(["cat", "tv", "dog"], ["cat", "tv"]).identical
    assert not match_classes(["cat"], ["cat", "dog"]).identical
    assert not match_classes(["cat", "dog"], ["cat", "dog"], {"dog": None}).identical


def test_what_is_given_goes_before_the_names():
    found = match_classes(["car", "truck", "van", "cat"], ["vehicle", "cat"], {"car": "vehicle", "Truck": "Vehicle"})
    assert found.goal == (0, 0, LEFT_OUT, 1) and found.merges and found.sources(0) == ("car", "truck")
    assert match_classes(["car", "cat"], ["car", "cat"], {"car": None}).goal == (LEFT_OUT, 1)
    assert match_classes(["car", "cat"], ["car", "cat"], {"car": "cat", "cat": "car"}).goal == (1, 0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tvmonitr": "tv"}, "class map: the teacher has no class 'tvmonitr'; did you mean 'tvmonitor'?"),
        ({"tvmonitor": "catt"}, "class map: the student has no class 'catt'; did you mean 'cat'?"),
        ({"tvmonitor": "tv", "TV-monitor": None}, "class map: the teacher's class 'tvmonitor' is given twice"),
        ({"N/A": "tv"}, "class map: the teacher has no class 'N/A'"),
    ],
)
def test_typing_errors_are_answered_with_the_nearest(given, says):
    with pytest.raises(UserError) as error:
        match_classes(["tvmonitor", "cat"], ["tv", "cat"], given)
    assert str(error.value).startswith(says)


@pytest.mark.parametrize("given", [{}, {"zebra": None}])
def test_nothing_in_common_is_an_error(given):
    teacher = ["zebra", *(f"beast {i}" for i in range(20))]
    with pytest.raises(UserError, match=r"no class in common: the teacher finds zebra, .* and 9 more; the student cat"):
        match_classes(teacher, ["cat"], given)


MERGED = match_classes(
    ["car", "bird", "truck", "cat"], ["cat", "vehicle", "dog"], {"car": "vehicle", "truck": "vehicle"}
)


def test_labels():
    assert MERGED.labels(torch.tensor([0, 1, 2, 3, 4])).tolist() == [1, LEFT_OUT, 1, 0, 3]
    assert MERGED.labels(torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_scores_logits_and_what_they_are_compared_with():
    """Only what both know: cat and vehicle, in the student's order."""
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.6, 0.0, 0.1, 0.3]])
    assert MERGED.known == (0, 1)
    torch.testing.assert_close(MERGED.pull_scores(scores, merge="sum"), torch.tensor([[0.4, 0.4], [0.3, 0.7]]))
    torch.testing.assert_close(MERGED.pull_scores(scores, merge="max"), torch.tensor([[0.4, 0.3], [0.3, 0.6]]))
    logits = torch.randn(2, 4, 5, 3)
    pulled = MERGED.pull_logits(logits, dim=1)
    assert torch.equal(pulled, torch.stack([logits[:, 3], torch.maximum(logits[:, 0], logits[:, 2])], dim=1))
    torch.testing.assert_close(pulled.sigmoid(), MERGED.pull_scores(logits.sigmoid(), merge="max", dim=1))
    assert MERGED.pick(torch.tensor([[1, 2, 3]])).tolist() == [[1, 2]]


def test_gradients_pass():
    logits = torch.tensor([[1.0, 9.0, 2.0, 3.0]], requires_grad=True)
    MERGED.pull_logits(logits).sum().backward()
    assert logits.grad.tolist() == [[0, 0, 1, 1]]


def test_rows():
    own = torch.tensor([[7.0, 7], [8, 8], [9, 9]])
    teacher = torch.tensor([[1.0, 2], [50, 50], [3, 6], [5, 5]])
    assert MERGED.pull_rows(teacher, own).tolist() == [[5, 5], [2, 4], [9, 9]]
    assert MERGED.counts().tolist() == [1, 2, 0] and own.tolist()[0] == [7, 7]
    assert MERGED.pull_rows(teacher.bfloat16(), own).dtype == torch.float32


def found(*rows):
    """(box, score, label) -> Detections, the n-th from cell n."""
    boxes, scores, labels = zip(*rows)
    index = torch.arange(len(rows))
    return Detections(torch.tensor(boxes).float(), torch.tensor(scores), torch.tensor(labels), CellIndex(*[index] * 4))


A, NEAR_A, B = (10, 10, 30, 30), (10, 10, 30, 31), (50, 50, 80, 80)


def test_detections_are_relabelled_and_one_object_is_found_once():
    seen = found((A, 0.9, 0), (A, 0.8, 1), (NEAR_A, 0.7, 2), (A, 0.6, 3), (B, 0.5, 2))
    translated = MERGED.detections(seen)
    assert translated.labels.tolist() == [1, 0, 1] and translated.scores.tolist() == pytest.approx([0.9, 0.6, 0.5])
    assert translated.cells.x.tolist() == [0, 3, 4]
    plain = match_classes(["cat", "dog"], ["dog", "cat"]).detections(found((A, 0.9, 0), (NEAR_A, 0.8, 0)))
    assert plain.labels.tolist() == [1, 1]  # where nothing is merged, the teacher's own NMS stands
    assert len(MERGED.detections(found((A, 0.8, 1)))) == 0


def test_the_table():
    rows = MERGED.describe()
    assert [row["student"] for row in rows] == ["vehicle", "dog", "(same name)", "(left out)"]
    assert rows[1]["teacher"].startswith("(unknown")
    assert [row["teacher"] for row in (rows[0], *rows[2:])] == ["car + truck", "cat", "bird"]
    assert match_classes(COCO_80, ["cat"]).describe()[1]["teacher"].endswith(" and 67 more")
    (row,) = match_classes(COCO_91, COCO_80).describe()
    assert row["teacher"].startswith("person, bicycle, car") and row["teacher"].endswith(" and 68 more")
