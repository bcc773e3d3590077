"""The numbers that scorers give, as types; docs/evaluation.md describes each."""

from __future__ import annotations

from typing import TypedDict


class Scores(TypedDict, total=False):
    """In percent; None where nothing is there to be found. The VOC numbers are there if a VocScorer ran.

    AP50, AP75  at IoU 0.5 and 0.75;  AP_S, AP_M, AP_L  of small, medium and large objects
    AR1, AR10, AR100  average recall with at most so many detections per image, and by size at 100
    VOC_AP, VOC_AP11  area under the curve at IoU 0.5, and the mean precision at 11 recalls
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    AP_S: float | None
    AP_M: float | None
    AP_L: float | None
    AR1: float | None
    AR10: float | None
    AR100: float | None
    AR_S: float | None
    AR_M: float | None
    AR_L: float | None
    VOC_AP: float | None
    VOC_AP11: float | None


class Metrics(Scores, total=False):
    """The scores over all classes, those of each class by its name, and how many images were looked at."""

    per_class: dict[str, Scores]
    images: int
