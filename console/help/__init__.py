"""Chapters of the documentation as pages: which there are, which screen each explains, how to search them."""
