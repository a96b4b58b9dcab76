"""Commands for provisioning scripts: who acts, how a value comes in, and how each one ends."""
