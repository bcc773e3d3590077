"""What share of a student's gradient comes from each term: looked at now and then, for metrics.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from headstart.detectors.detector import Detector
from headstart.methods import Method
from headstart.pace import together


def due(method: Method, step: int, total: int, every: int) -> bool:
    """Whether a step is one to measure at: the first, and one in `every` in which all guidances guide that have not
    stopped; `every` 0: never, as for a method without guidances."""
    guidances = list(method)
    if not every or not guidances:
        return False
    wanted = together(method.paces)
    if step % (-(-every // wanted) * wanted):
        return False
    return any(guidance.pace.guides(step, total) for guidance in guidances)


def shared_parameters(student: Detector) -> list[nn.Parameter]:
    """Those that all terms have in common: of backbone and neck, as far as they are trained."""
    parts: tuple[nn.Module, ...] = (student.backbone, student.neck)
    return [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]


def gradient_shares(terms: Mapping[str, Tensor], parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """The L2 norm of each term's gradient on the parameters, divided by the sum of these norms: scalars, by term.

    One backward pass per term, through a graph that is kept; no parameter's `grad` is touched. A term that does not
    reach the parameters has the share 0. In several processes each has those of its own images.
    """
    norms = {name: _norm(term, parameters) for name, term in terms.items()}
    whole = torch.stack(list(norms.values())).sum().clamp(min=torch.finfo(torch.float32).tiny)
    return {name: norm / whole for name, norm in norms.items()}


def _norm(term: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    if not term.requires_grad:
        return torch.zeros((), device=term.device)
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    gradients = [gradient for gradient in found if gradient is not None]
    return torch.nn.utils.get_total_norm(gradients).float() if gradients else torch.zeros((), device=term.device)
