"""What `allstage` can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.methods.allstage.macro import Macro
from headstart.methods.allstage.measures import Measure, RowMeasure
from headstart.methods.allstage.micro import Location
from headstart.methods.allstage.regions import Boxes
from headstart.methods.levels import Levels, Resize
from headstart.options import Amount, Count, Positive, Share, Steps

Preset = Literal["fitnet", "pkd", "score_l2", "cwd", "defeat_neck", "head_row"]


@dataclass(frozen=True)
class AllStageOptions:
    """What `allstage` can be told. None: as the preset has it, else the default named here.

    preset       a known method: switches, weights and measures become its own, what is given besides goes first
    stages       groups of links: backbone, neck, dense_cls, dense_reg, region, logit. By default all; backbone only
                 between detectors of one family
    levels       which levels belong together: "stride", "scale" (objects of one size) or "auto" (`pair_levels`)
    finest       how many of the finest pairs of levels are compared (4), or "all"
    resize       maps of different strides: "coarser" averages the finer one (default), "teacher" interpolates the
                 student's to the teacher's size
    valid        whether cells in the padding are left out (True)
    measure      of maps: "pearson" (default), "mse", "smooth_l1", "cosine", "channel_kl", "ssim"
    sample       with pearson: the sample standard deviation, as in PKD's code (False)
    temperature  with channel_kl: of the softmax over places (1)
    row_measure  of regions: "cosine" (default), "mse", "smooth_l1", "pearson"
    relation     weight of the distances between the regions of an image, beside the regions themselves (0)
    location     which places count most: "score" (default), "objects" (FGD's masks), "split" (objects and background
                 as in DeFeat), "uniform"
    eta, power, gap   with score: eta + q_t^power * (1 + gap * |q_t - q_s|) (0.1, 1, 1)
    foreground   with split: the part of the weight that objects have (0.2)
    channel      whether channels that are large in the teacher count more (True)
    channel_temperature   of that softmax (1)
    row          whether regions are weighted by the teacher's score (True)
    worse        a region counts only so much where the teacher's box is worse than the student's (0.25)
    boxes        whose regions both read: "teacher" (default), "student"; "independent": each its own, which breaks the
                 correspondence, for ablations
    regions      per image (128)
    through      what learns in the group region: "student" (default): crops of its pyramid, or the layers of two box
                 heads; "soft": crops of all its levels, mixed by their likeness to the teacher's, as in SGFI;
                 "assistant": a box head of the teacher's kind on its pyramid, as in HEAD. The last two read the
                 student's regions
    adapter      the layer between: "always" (default), or where widths differ ("needed")
    per_level    a layer for each level of the maps (False: one for all)
    kernel       with per_level: 1 (default) or 3 cells wide
    macro        weights of the groups: "calibrated" (default), "controlled", "uncertainty", "fixed"
    shares       the part of the detection losses that each group is to be, or with fixed its weight: one number, or a
                 mapping of groups (backbone 0.05, neck 0.2, dense_cls 0.05, dense_reg 0.05, region 0.05, logit 0.1)
    reduce       how levels and links of a group are put together: "mean" (default) or "sum"
    calibration  steps that only measure (400, at most a tenth of the run)
    band         with controlled: how far a share of the gradient may be off (0.05)
    warmup       steps over which the terms grow after that (500, or a fiftieth of the run; at most a tenth)
    fade         part of the run after which they fall (0.5); 1: never
    final        what they have fallen to at the end (0.1)
    stop         the last step at which they count (no end)
    """

    preset: Preset | None = None
    stages: str | Sequence[str] | None = None
    levels: Levels | None = None
    finest: Count | Literal["all"] | None = None
    resize: Resize | None = None
    valid: bool | None = None
    measure: Measure | None = None
    sample: bool | None = None
    temperature: Positive | None = None
    row_measure: RowMeasure | None = None
    relation: Amount | None = None
    location: Location | None = None
    eta: Amount | None = None
    power: Amount | None = None
    gap: Amount | None = None
    foreground: Share | None = None
    channel: bool | None = None
    channel_temperature: Positive | None = None
    row: bool | None = None
    worse: Share | None = None
    boxes: Boxes | None = None
    regions: Count | None = None
    through: Literal["student", "soft", "assistant"] | None = None
    adapter: Literal["always", "needed"] | None = None
    per_level: bool | None = None
    kernel: Literal[1, 3] | None = None
    macro: Macro | None = None
    shares: Mapping[str, Amount] | Amount | None = None
    reduce: Literal["mean", "sum"] | None = None
    calibration: Steps | None = None
    band: Share | None = None
    warmup: Steps | None = None
    fade: Share | None = None
    final: Share | None = None
    stop: Steps | None = None
