"""The training loop, learners, optimisers, evaluation and the LR range test. Reads and writes no files of a run."""
