"""What an installation says of itself to those who watch it: metrics for a program, findings for a person."""
