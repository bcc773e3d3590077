"""What is written down of a run's data: in results.json, and in the checkpoint, to be compared when it is continued."""

from __future__ import annotations

from collections.abc import Mapping

from headstart.config import Data, Run
from headstart.data.dataset import DetectionDataset
from headstart.data.raw import relative
from headstart.data.split import checksum
from headstart.data.unlabelled import SHARE, count_unlabelled
from headstart.report.results import DataFacts, SplitFacts, TeacherFacts, UnlabelledFacts


def describe_data(
    run: Run, splits: Mapping[str, DetectionDataset | None], per_epoch: int, teachers: TeacherFacts
) -> DataFacts:
    """What results.json says under `data`.

    splits  "train", "val" and "unlabelled", None where the run has none;  run: its batch is a number
    """
    train, val, unlabelled = splits["train"], splits["val"], splits["unlabelled"]
    assert train is not None  # every run trains
    return {
        "path": str(run.data.path),
        "name": train.name,
        "classes": list(train.classes),
        "train_images": len(train),
        "val_images": len(val) if val is not None else None,
        "batch": int(run.data.batch),
        "steps_per_epoch": per_epoch,
        "seed": run.train.seed,
        **_describe_split(run.data, train),
        **_describe_unlabelled(run.data, unlabelled),
        **teachers,
    }


def count_images(facts: DataFacts) -> int:
    """How many images train, with labels and without."""
    blind = facts.get("unlabelled")
    return facts["train_images"] + (blind["images"] if blind is not None else 0)


def _describe_split(data: Data, train: DetectionDataset) -> SplitFacts:
    """What is written down of a validation split that was made; nothing where the folder has one.

    A run that is continued must find the same training images.
    """
    if data.split is None:
        return {}
    names = (relative(train.file(index), train.path) for index in range(len(train)))
    return {"split": {"share": data.split, "seed": data.split_seed, "training_images": checksum(names)}}


def _describe_unlabelled(data: Data, unlabelled: DetectionDataset | None) -> UnlabelledFacts:
    """How many images without labels there are, and how many of them in a batch; nothing where there are none."""
    if unlabelled is None:
        return {}
    per_batch = count_unlabelled(int(data.batch), data.unlabelled_share or SHARE)
    return {"unlabelled": {"images": len(unlabelled), "per_batch": per_batch}}
