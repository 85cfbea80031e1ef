"""MLflow: runs, the model that is logged, registered versions."""
