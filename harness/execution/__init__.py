"""Make runs, one or many: checks before the first run, start, resumption and end of each run, and scheduling."""
