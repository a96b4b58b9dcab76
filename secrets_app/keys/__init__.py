"""Keys that values are sealed under: their states, their versions, and rewrapping."""
