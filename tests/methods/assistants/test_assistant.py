"""What all kinds of assistants have in common."""

import pytest

from headstart.methods.adapters import LinearAdapter
from headstart.methods.assistants import KINDS, Assistant, standalone_assistant
from methods.pairs import tiny


def test_a_new_kind_has_a_linear_adapter_and_gives_the_rest_itself():
    class New(Assistant):
        width = 6

    made = New()
    adapter = made.adapter()
    assert isinstance(adapter, LinearAdapter) and tuple(adapter.linear.weight.shape) == (6, 6)
    assert made.adapter() is not adapter and not list(made.parameters())
    for call in (lambda: made(None), lambda: made.teacher_layers(None, None, None)):
        with pytest.raises(NotImplementedError):
            call()
    with pytest.raises(NotImplementedError):
        made.init_from_teacher(None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_is(kind):
    assistant = standalone_assistant(kind, tiny("fcos" if kind != "fcos" else "retinanet"), {})
    assert assistant.kind == kind and assistant.predicts_at in ("cells", "regions")
    assert assistant.target_layer in assistant.layers and assistant.width > 0
    assert bool(assistant.factors) == (assistant.predicts_at == "cells")
    assert assistant.levels.startswith("P3..P")
