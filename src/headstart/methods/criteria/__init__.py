"""Criteria: how far what a student gives is from what it is to give."""

from headstart.methods.criteria.mse import MSE, mse

__all__ = ["MSE", "mse"]
