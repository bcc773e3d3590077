"""Assistants: heads of the teacher's kind on the student's pyramid. They are trained and then thrown away."""

from headstart.methods.assistants.assistant import Assistant, Reading, Sight
from headstart.methods.assistants.kinds import KINDS, follow, raise_free, suited

__all__ = ["KINDS", "Assistant", "Reading", "Sight", "follow", "raise_free", "suited"]
