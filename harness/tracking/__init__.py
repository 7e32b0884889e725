"""MLflow: the store, delivery of runs to it, and reading from it. Only this package imports MLflow."""
