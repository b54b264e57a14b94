"""A sandbox for one command: Linux namespaces whose only sockets belong to the proxy outside.

The sandbox is made by a helper process.  Its modules use only the standard library, so that it starts fast; their
values are named tuples, because C{attrs} would take longer to import than the helper runs.
"""
