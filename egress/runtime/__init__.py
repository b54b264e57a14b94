"""The runtime of a program around a service: command line, terminal, signals, ports, files and threads."""
