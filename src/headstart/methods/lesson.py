"""One assistant and all that is learned through it: the three parts of HEAD for one teacher, or for none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.losses.imitation import mse
from headstart.methods.assistants.assistant import Assistant, Layers, Reading, Sight
from headstart.methods.base import Frozen
from headstart.methods.ckd import Compared, Link
from headstart.methods.weighting import Scale
from headstart.structures import ImageBatch, Progress


class Lesson(nn.Module):
    """An assistant's losses, AKD from the teacher to it, and CKD from teacher or assistant to the student's head.

    name       the middle of the terms' names: `assistant/NAME/...`, `akd/NAME/...`, `ckd/NAME`
    teacher    None: the assistant learns from ground truth alone, and CKD is from it, detached
    akd, ckd   weight of each layer's and of each CKD term; None: there is none
    own        factor of the assistant's losses on the ground truth
    auto       whether squared errors are divided by their target's variance (`Scale`)
    fresh      what of the assistant did not come from the teacher, for the pairing table
    """

    def __init__(
        self,
        name: str,
        assistant: Assistant,
        teacher: Frozen | None,
        *,
        akd: float | None,
        link: Link | None,
        ckd: float | None,
        own: float = 1.0,
        auto: bool = True,
        fresh: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.name, self.assistant, self.teacher = name, assistant, teacher
        self.akd, self.ckd, self.own, self.fresh = akd, ckd, own, list(fresh)
        layers = assistant.layers if teacher is not None and akd is not None else ()
        self.adapters = nn.ModuleDict({layer: assistant.adapter() for layer in layers})
        if link is not None:
            self.adapters["ckd"] = link
        self.scales = nn.ModuleDict()
        if auto:
            endings = link.rows() if link is not None else {}
            names = [*layers, *(_joined("ckd", ending, "_") for ending in endings)]
            self.scales.update({name: Scale(moving=teacher is None) for name in names})

    @property
    def link(self) -> Link | None:
        """The CKD adapter, if there is CKD."""
        found = dict(self.adapters).get("ckd")
        return found if isinstance(found, Link) else None

    def forward(
        self, sight: Sight, batch: ImageBatch, progress: Progress, *, own: float, akd: float, ckd: float
    ) -> dict[str, Tensor]:
        """The lesson's terms; `own`, `akd` and `ckd` are how far each schedule has come, 0 to 1."""
        mine = self.assistant(sight)
        terms = {f"assistant/{self.name}/{key}": value * (self.own * own) for key, value in mine.losses.items()}
        if not self.adapters:
            return terms
        goal = self._goal(batch, mine)
        for layer in self.adapters:
            if layer == "ckd":
                continue
            adapted = [self.adapters[layer](x) for x in mine.layers[layer]]
            gap = self._gap((adapted, goal[layer]), layer, progress)
            terms[f"akd/{self.name}/{layer}"] = gap * ((self.akd or 0.0) * akd)
        if "ckd" in self.adapters:
            for ending, compared in self.adapters["ckd"](sight, goal).items():
                gap = self._gap(compared, _joined("ckd", ending, "_"), progress)
                terms[_joined(f"ckd/{self.name}", ending, "/")] = gap * ((self.ckd or 0.0) * ckd)
        return terms

    def _goal(self, batch: ImageBatch, mine: Reading) -> Layers:
        if self.teacher is not None:
            return self.assistant.consult(self.teacher, batch, mine)
        return {name: [x.detach() for x in tensors] for name, tensors in mine.layers.items()}

    def _gap(self, compared: Compared, name: str, progress: Progress) -> Tensor:
        """Squared errors, summed over levels as published; or their mean in units of the target's variance."""
        mine, goal = compared
        total = torch.stack([mse(m, g) for m, g in zip(mine, goal, strict=True)]).sum()
        if name not in self.scales:
            return total
        return total / len(goal) / self.scales[name](goal, progress, mine)

    def describe(self) -> list[dict[str, str]]:
        """Rows of the pairing table."""
        assistant = self.assistant
        fresh = f"; not from the teacher: {', '.join(self.fresh)}" if self.fresh else ""
        where = f"assistant/{self.name} on {assistant.where} of the student{fresh}"
        rows = [{"from": "ground truth", "to": where, "through": "", "weight": f"{self.own:g}"}]
        unit = " / variance" if len(self.scales) else ""
        guide = self.teacher.title if self.teacher is not None else f"assistant/{self.name}"
        for layer, adapter in self.adapters.items():
            if isinstance(adapter, Link):
                for source, target, through in adapter.rows().values():
                    weight = f"{self.ckd:.3g}{unit}"
                    rows.append({"from": f"{guide} {source}", "to": target, "through": through, "weight": weight})
                continue
            through = f"{assistant.through} {assistant.width} -> {assistant.width}"
            weight = f"{self.akd:.3g}{unit}"
            rows.append(
                {
                    "from": f"{guide} {layer}",
                    "to": f"assistant/{self.name} {layer}",
                    "through": through,
                    "weight": weight,
                }
            )
        return rows


def _joined(name: str, ending: str, by: str) -> str:
    return f"{name}{by}{ending}" if ending else name
