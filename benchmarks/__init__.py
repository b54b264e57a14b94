"""Benchmarks of the proxy and of other proxies on one machine.

C{python -m benchmarks} measures every installed proxy; L{benchmarks.scenarios} defines the scenarios.  The installed
package contains no benchmarks.
"""
