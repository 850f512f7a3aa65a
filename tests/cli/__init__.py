"""The command line, through its processes, its exit codes and its terminals."""
