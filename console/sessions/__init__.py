"""Sessions: how they begin, are kept and end, what proved who their user is, and how long ago."""
