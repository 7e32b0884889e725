"""MLflow, and how runs get there."""
