"""The reactor interface that the proxy requires."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP, IReactorTime
from zope.interface import Interface


# pydoctor, which does not read Twisted, recognizes an interface by its base Interface.
class IEgressReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver, Interface):
    """A reactor with TCP, time and a name resolver."""
