"""The official numbers, as the parity tests have them."""

from parity.conftest import reference

__all__ = ["reference"]
