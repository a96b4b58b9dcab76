"""One plain form per screen; each validates and does nothing else."""
