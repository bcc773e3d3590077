"""How good a detector is: COCO and VOC numbers, the same on one process and on several."""

from headstart.evaluation.coco import CocoScorer, coco_numbers
from headstart.evaluation.evaluate import evaluate
from headstart.evaluation.original import to_original
from headstart.evaluation.voc import VocScorer

__all__ = ["CocoScorer", "VocScorer", "coco_numbers", "evaluate", "to_original"]
