"""How should One Cycle end? Seed document 003 asks for "no annihilation", that is, no third phase.

Two phases down to peak/10,000; two phases ending at the initial rate (peak/100); and torch's three phases.
Expected: the lower final rate is better, the third phase makes little difference.
Command: make run EXP=onecycle_endings. Cost: about 2.3 hours per run on one CPU core with bf16, 21 runs.
"""

from experiments.resnet_onecycle import RECIPE
from harness import Experiment

EXPERIMENT = Experiment(
    name="onecycle_endings",
    question="How should One Cycle end: far below its start, at its start, or after a third phase?",
    base=RECIPE,
    variants={
        "two_phase": {},
        "ends_at_lrmin": {"schedule.final_div_factor": 1.0},
        "three_phase": {"schedule.three_phase": True},
    },
    factor=("schedule",),
    baseline="two_phase",
    seeds=(0, 1, 2, 3, 4, 5, 6),
    smallest_difference_points=0.2,
)
