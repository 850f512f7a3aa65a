"""The doors for other programs, each tried with the real one."""
