"""Models of settings that are written down and read back without a change of meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer


class Plain(BaseModel):
    """Its dump has no key that was left at `null` by default, but keeps every other `null`.

    `clip: null` switches the limit off and `ckd_stop: null` of a method is not its default `auto`, so both are written;
    a `null` that is the default of a key says nothing.
    """

    @model_serializer(mode="wrap")
    def _without_default_nulls(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        dumped = dump(self)  # lacks every null if the caller asked for exclude_none
        fields = type(self).model_fields
        unset = {name for name, field in fields.items() if field.default is None and getattr(self, name) is None}
        kept = {name for name, value in self if name not in unset and (name in dumped or value is None)}
        return {name: dumped.get(name) for name, _ in self if name in kept}


def stray_switch(annotation: object, value: object) -> bool | None:
    """A true or false where the type wants a number: pydantic, which reads numbers from text too, would make it 1 or 0.

    annotation  the type of a setting;  value  what was given for it, alone or in a list
    Gives None where there is none.
    """
    kinds = set(_kinds(annotation))
    if bool in kinds or object in kinds or not kinds & {int, float}:
        return None
    entries = value if isinstance(value, list | tuple) else [value]
    return next((entry for entry in entries if isinstance(entry, bool)), None)


def _kinds(annotation: object) -> Iterator[object]:
    """The types that a type is put together from."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)
