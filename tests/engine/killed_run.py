"""python killed_run.py RUN_YAML STEP: trains, and kills itself with SIGKILL right after step number STEP."""

import os
import signal
import sys

import torch

from headstart.engine.callback import RunCallback
from headstart.engine.fit import fit
from headstart.recipe import load_run

torch.set_num_threads(1)
last = int(sys.argv[2])
after_step = RunCallback.on_train_batch_end


def die_after_step(self, trainer, module, *rest):
    after_step(self, trainer, module, *rest)
    if module.step == last:
        os.kill(os.getpid(), signal.SIGKILL)


RunCallback.on_train_batch_end = die_after_step
fit(load_run(sys.argv[1]))
