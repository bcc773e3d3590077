"""Weights of YOLOX's own code: its names are brought to mmdetection's."""
