"""Safety rules, each taken out of a copy of the code to see a test notice: `python -m tests.breaks`."""
