"""The scorecard: hostile messages, and the page with the outcome of each (C{docs/reference/scorecard.md}).

A case (L{tests.scorecard.cases}) is data.  It is played in memory against our own sessions, and over TCP against any
proxy; what was seen is judged by readers of HTTP/1 that share nothing with the proxy's own.
"""
