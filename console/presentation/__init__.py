"""What is true of a thing, in words, tones and next steps."""
