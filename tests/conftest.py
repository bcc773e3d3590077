"""One thread for every test: the machines are small and the tests run in parallel."""

import torch

torch.set_num_threads(1)
