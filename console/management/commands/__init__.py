"""Commands for the machine that the console runs on."""
