"""Teachers: what methods ask of them, and the one that is a frozen detector."""

from headstart.teachers.base import TEACHER, Teacher
from headstart.teachers.frozen import Frozen

__all__ = ["TEACHER", "Frozen", "Teacher"]
