"""Several worker processes behind one C{twistd}: the parent and the worker program."""
