"""Backups of the database: taken while Keyturn runs, encrypted by age, and read back before they count."""
