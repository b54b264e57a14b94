"""What the proxy costs next to other proxies, measured on one machine.

C{python -m benchmarks} measures everything that is installed; L{benchmarks.scenarios} has the table of what is
measured.  Nothing here is part of the installed package.
"""
