"""The overview: what needs attention, what is counted, its figures and charts."""
