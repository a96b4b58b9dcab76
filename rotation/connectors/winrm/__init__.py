"""The connector for Windows hosts that answer over WinRM, with an administrator's account."""
