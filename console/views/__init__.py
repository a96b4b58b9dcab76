"""Screens: a folder for each area, named as in `templates/`."""
