"""Experiments, recipes, and the plan of runs that follows from them. Imports no torch."""
