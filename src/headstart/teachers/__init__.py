"""Teachers: what methods ask of them, and the ones that are a frozen detector, with or without a store on disk."""

from headstart.teachers.base import TEACHER, Teacher
from headstart.teachers.frozen import Frozen
from headstart.teachers.own_size import OwnSize
from headstart.teachers.store import Store
from headstart.teachers.stored import Stored

__all__ = ["TEACHER", "Frozen", "OwnSize", "Store", "Stored", "Teacher"]
