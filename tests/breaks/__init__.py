"""Safety rules that a program takes out of a copy of the code, to see a test notice: `python -m tests.breaks`."""
