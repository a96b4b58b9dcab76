"""The contract for code that changes credentials on hosts, and a folder for each wire. No Django."""
