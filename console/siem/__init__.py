"""The audit trail in the shapes that programs which watch for attacks read, one event a line."""
