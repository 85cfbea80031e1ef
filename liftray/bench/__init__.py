"""What LiftRay's speed is, measured beside what was predicted and beside what users would run otherwise."""
