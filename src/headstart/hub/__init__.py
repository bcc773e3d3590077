"""Weights on the Hugging Face hub: `hf://OWNER/NAME` wherever a file is named, and `headstart push`."""
