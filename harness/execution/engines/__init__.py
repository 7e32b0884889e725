"""Where runs are made: in this process, in worker processes, on Ray, through Slurm. Each file can be read alone."""
