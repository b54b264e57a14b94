"""Several processes behind one C{twistd}: the parent, and what each worker is."""
