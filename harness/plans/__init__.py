"""What is asked: experiments, recipes, and the runs that answer a question. Knows no torch."""
