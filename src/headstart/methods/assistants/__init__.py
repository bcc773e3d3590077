"""Assistants: heads of the teacher's kind on the student's pyramid. They are trained and then thrown away."""

from headstart.methods.assistants.assistant import Assistant, AssistantOutputs
from headstart.methods.assistants.guidance import AssistantLosses, AssistantTap, TeacherLayer
from headstart.methods.assistants.kinds import KINDS, assistant_for, default_assistants, kind_of, standalone_assistant

__all__ = [
    "KINDS",
    "Assistant",
    "AssistantLosses",
    "AssistantOutputs",
    "AssistantTap",
    "TeacherLayer",
    "assistant_for",
    "default_assistants",
    "kind_of",
    "standalone_assistant",
]
