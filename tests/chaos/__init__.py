"""The product as processes, killed at random while it rotates: `./keyturn chaos --on postgresql`."""
