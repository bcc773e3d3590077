"""Presets of all-stage guidance against the official numbers of PKD and of HEAD's assistant."""

import pytest

from headstart.methods import Frozen, build_method
from headstart.methods.allstage.distances import RowDistance
from parity.official import close, meta, tensor
from parity.test_crosskd import HEADS, detector, run


@pytest.mark.parametrize("kind", HEADS)
def test_pkd(kind, reference):
    """The official term is the sum over five levels; its constant is that of the teacher's kind."""
    arrays = reference(f"crosskd_{kind}")
    constant = {"gfl": 6.0, "retina": 2.0, "fcos": 2.0, "atss": 1.0}[kind]
    student, teacher = detector(kind, arrays, "student"), Frozen(detector(kind, arrays, "teacher"))
    method = build_method("allstage", student, teacher, preset="pkd", finest="all", shares=constant)
    prefix = f"loss/full_idx{meta(arrays)['default_reused_teacher_head_idx']}/loss_feat_kd"
    goal = sum(tensor(arrays[key]).double().sum() for key in arrays if key.startswith(prefix))
    close(run(method, arrays, "full")["allstage/neck"].double(), goal, 1e-5)


def test_the_assistants_rows(reference):
    arrays = reference("head_assist")
    distance = RowDistance("mse")
    for layer, name in (("rcnn_bbox_aux", "loss_mimic_rcnn_aux"), ("rcnn_bbox", "loss_mimic_rcnn")):
        rows = [tensor(arrays[f"traced/{layer}_adapted"])]
        found = 2.0 * distance(rows, [tensor(arrays[f"traced/teacher_{layer}"])], None)[""]
        close(found.double(), tensor(arrays[f"loss/full_iter3000/{name}"]).double().sum(), 1e-5)
