"""Several worker processes behind one C{twistd}: the supervisor and the worker program."""
