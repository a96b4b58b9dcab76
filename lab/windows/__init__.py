"""Simulated Windows hosts, for tests and the demo: no Windows runs here, and none has confirmed them.

`hosts` is what is true on a host, `wsman` is how it answers on the network, `powershell`, with its
`values`, and `dotnet` run its scripts.
"""
