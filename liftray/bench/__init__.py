"""LiftRay's speed: measured, compared with predictions, and compared with what users would run otherwise."""
