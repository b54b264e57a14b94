"""The scorecard: hostile messages, what each proxy makes of them, and the page that says so (C{docs/scorecard.md}).

A case (L{tests.scorecard.cases}) is data.  It is played in memory against our own sessions, and over TCP against any
proxy; what was seen is judged by readers of HTTP/1 that share nothing with the proxy's own.
"""
