"""What a program of its own needs around a service: its command line, its terminal, its signals."""
