"""How a run is carried through its steps, each safe to repeat."""
