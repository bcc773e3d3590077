"""The settings of a run's data, and what all sections of a run have in common. Importing this must stay cheap."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from headstart.plain import Plain, stray_switch

Positive = Annotated[int, Field(gt=0, le=10**9)]

Side = Annotated[int, Field(gt=0, le=16_384)]
"""Pixels: one picture of 16,384 x 16,384 takes gigabytes in any detector."""

Word = Annotated[str, Field(min_length=1)]

Batch = Annotated[int, Field(gt=0, le=65_536)]
Probability = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=10)]


class Section(Plain):
    """Unknown keys are errors; assignments are checked like files are; numbers are finite and never true or false."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_number_is_no_switch(cls, value: object, info: ValidationInfo) -> object:
        switch = stray_switch(cls.model_fields[info.field_name or ""].annotation, value)
        if switch is not None:
            raise ValueError(f"expected a number, found {str(switch).lower()}")
        return value


class Data(Section):
    """Which images, and how they are shown to the detectors.

    Images keep their ratio: the shorter side becomes `short` pixels (a pair: drawn anew for each training image), but
    the longer side at most `long`. `imgsz: N` is the short way to say short N, long N: the image fits a square.
    """

    path: Word = Field(description="folder of annotated images: COCO, Roboflow, Pascal VOC or YOLO, found by itself")
    split: float | None = Field(None, description="share of the images that validate, where there is no such split")
    split_seed: int = Field(0, ge=0, description="another number, another choice of these images")
    val_split: Literal["val", "valid", "validation", "test"] | None = Field(
        None, description="which split of the folder validates (default: val, valid or validation)"
    )
    imgsz: Side | None = Field(None, description="side of the square that images are fitted into (default 640)")
    short: Side | tuple[Side, Side] | None = Field(None, description="shorter side, or [least, most]")
    long: Side | None = Field(None, description="limit of the longer side")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip in training")
    jitter: bool = Field(False, description="change brightness, contrast and saturation in training")
    hsv: bool = Field(False, description="change hue, saturation and value in training, as YOLOX and RTMDet do")
    crop: Probability = Field(0.0, description="probability that a part of a training image is used, cut at random")
    scale: tuple[Factor, Factor] | None = Field(None, description="scale training images by [least, most], then cut")
    rotate: float = Field(0.0, ge=0, le=180, description="turn training images by up to so many degrees")
    shear: float = Field(0.0, ge=0, le=45, description="shear training images by up to so many degrees")
    mosaic: Probability = Field(0.0, description="probability that a training image is composed of four")
    mixup: Probability = Field(0.0, description="probability that a training image is mixed with another")
    mixup_mosaic: bool = Field(False, description="the other image of a mixture may be a mosaic too, as in RTMDet")
    mosaic_off: float = Field(0.1, ge=0, lt=1, description="last share of the run, without mosaic and mixup")
    multi_scale: tuple[Side, Side] | None = Field(
        None, description="resize the batch of every training step to [least, most] px, multiples of 32"
    )
    square: bool = Field(False, description="pad every image to the square of imgsz, in training and evaluation")
    batch: Batch | Literal["auto"] = Field(
        16, description="images per step, over all devices together; auto: the most that the device's memory holds"
    )
    workers: int = Field(0, ge=0, le=1024, description="processes that read images; 0 reads in the training process")
    bad_data: Literal["stop", "skip"] = Field("stop", description="what to do with unusable images and boxes")
    classes: list[Word] | None = Field(None, min_length=1, description="only these classes, in this order")
    unlabelled: Word | None = Field(
        None, description="folder of images without annotations, for methods with a teacher"
    )
    unlabelled_share: float | None = Field(
        None, gt=0, lt=1, description="share of each batch that they make up (default 0.5)"
    )

    @model_validator(mode="after")
    def _one_way_to_give_the_size(self) -> Data:
        if self.imgsz is not None and (self.short is not None or self.long is not None):
            raise ValueError("give either imgsz, or short and long")
        if (self.short is None) != (self.long is None):
            raise ValueError("short and long go together; give both, or imgsz")
        if isinstance(self.short, tuple) and self.short[0] > self.short[1]:
            raise ValueError(f"short is [least, most], found {list(self.short)}; exchange the two")
        square = [key for key in ("mosaic", "mixup", "square") if getattr(self, key)]
        if square and self.short is not None:
            raise ValueError(f"{square[0]} makes square images: give their side by imgsz, not short and long")
        if self.mixup_mosaic and not (self.mosaic and self.mixup):
            raise ValueError("mixup_mosaic says that images are mixed with mosaics: it needs mosaic and mixup above 0")
        if self.square and self.sides[1] % 32:
            raise ValueError(f"with square, imgsz must be a multiple of 32 such as {-(-self.sides[1] // 32) * 32}")
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: the least comes first, found {list(self.scale)}")
        return self

    @model_validator(mode="after")
    def _sides_of_batches(self) -> Data:
        if self.multi_scale is None:
            return self
        if self.short is not None:
            raise ValueError("multi_scale changes the size that imgsz gives: give imgsz, not short and long")
        least, most = self.multi_scale
        if least > most or least % 32 or most % 32:
            raise ValueError(f"multi_scale: expected [least, most], multiples of 32, found {list(self.multi_scale)}")
        return self

    @model_validator(mode="after")
    def _one_way_to_validate(self) -> Data:
        if self.split is not None and self.val_split is not None:
            raise ValueError("give either split (make a validation split) or val_split (which one of the folder)")
        return self

    @model_validator(mode="after")
    def _a_share_of_something(self) -> Data:
        if self.unlabelled_share is not None and self.unlabelled is None:
            raise ValueError("unlabelled_share is a share of the images in unlabelled; give that folder, too")
        return self

    @field_validator("split")
    @classmethod
    def _a_share(cls, value: float | None) -> float | None:
        if value is not None and not 0 < value < 1:
            raise ValueError(f"the share of the images that validate, between 0 and 1 such as 0.2, found {value:g}")
        return value

    @property
    def never_twice(self) -> str | None:
        """The first setting that makes nearly every view of a training image a new one; None: views come again."""
        drawing = ("mosaic", "mixup", "scale", "crop", "rotate", "shear", "multi_scale", "jitter", "hsv")
        settings = {name: bool(getattr(self, name)) for name in drawing}
        drawn = {**settings, "short": isinstance(self.short, tuple) and self.short[0] < self.short[1]}
        return next((name for name, is_drawn in drawn.items() if is_drawn), None)

    @property
    def views(self) -> int:
        """In how many ways a training image is shown, where views come again: as it is, mirrored, or both."""
        return 2 if 0 < self.flip < 1 else 1

    @property
    def sides(self) -> tuple[int | tuple[int, int], int]:
        """Shorter side (one number, or least and most) and limit of the longer side, in pixels."""
        if self.short is not None and self.long is not None:
            return self.short, self.long
        side = self.imgsz or 640
        return side, side

    @property
    def largest(self) -> tuple[int, int]:
        """The limits of both sides without any chance: those of validation, the largest of training."""
        short, long = self.sides
        return (short if isinstance(short, int) else short[1]), long
