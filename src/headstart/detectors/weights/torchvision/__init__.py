"""torchvision's detectors, read from their state dicts."""
