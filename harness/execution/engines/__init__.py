"""Engines that make runs: this process, worker processes, Ray or Slurm. Each file can be read on its own."""
