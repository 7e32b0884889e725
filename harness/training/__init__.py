"""The loop and what it needs: learners, optimisers, evaluation, the LR range test. Knows no files."""
