"""headstart: distil any object detector into any other, and prove whether it helped."""

__version__ = "0.1.0"
