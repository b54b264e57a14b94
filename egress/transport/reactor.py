"""The reactor interface that the proxy requires."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP, IReactorTime


class IEgressReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
    """A reactor with TCP, time and a name resolver."""
