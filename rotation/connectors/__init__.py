"""The contract with whatever changes a credential on a host, and a folder for each wire. No Django."""
