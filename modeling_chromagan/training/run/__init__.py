"""A training run on the disk and in the machine."""
