"""All-stage guidance, a reconstruction inspired by Hands-on Guidance: links at every stage, weighted by group."""

from headstart.methods.allstage.method import allstage
from headstart.methods.allstage.options import AllStageOptions

__all__ = ["AllStageOptions", "allstage"]
