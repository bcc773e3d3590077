"""mmdetection's detectors, 2.x and 3.x, read from their state dicts and what lies beside them."""
