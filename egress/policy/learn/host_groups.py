"""The grouping of hosts of one domain as C{*.domain}, if the domain has a single owner.

The Public Suffix List identifies the domains of an owner:

    - never group below a top-level domain, or below the domain of a registry (C{co.uk}, C{com.br}); a name that the
      list does not contain has its top-level domain as its registry;
    - never group below a domain whose owner assigns names in it to other parties (C{github.io}), or below a domain in
      it.  Some such domains are not on the list (C{amazonaws.com}); this module lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

from publicsuffixlist import PublicSuffixList

from egress.model.authority import parse_ip

MANY_HOSTS: Final = 3
"""The minimum number of hosts of one domain to create a pattern."""

# Domains with names of customers that the list, or an older installed version of it, does not contain.
_SHARED: Final = frozenset(
    {
        *("amazonaws.com", "amazonaws.com.cn", "on.aws"),
        *("azurecr.io", "cloudapp.azure.com", "windows.net"),
        *("googleusercontent.com", "aliyuncs.com", "myqcloud.com", "oraclecloud.com", "ovh.net", "scw.cloud"),
        *("b-cdn.net", "backblazeb2.com", "cdn77.org", "fastly.net", "wasabisys.com"),
        *("glitch.me", "lovable.app", "railway.app", "render.com", "stackblitz.io", "surge.sh", "webcontainer.io"),
        *("github.dev", "rtfd.io", "sourceforge.io"),
        *("squarespace.com", "tumblr.com", "weebly.com", "wordpress.com"),
        *("loca.lt", "localtunnel.me", "nip.io", "serveo.net", "sslip.io", "xip.io"),
        *("interact.sh", "oast.fun", "oastify.com", "pipedream.net", "requestbin.net", "webhook.site"),
        *("atlassian.net", "auth0.com", "okta.com", "sharepoint.com", "slack.com", "zendesk.com"),
    }
)


@cache
def _suffixes(*, registries_only: bool) -> PublicSuffixList:
    # Loading takes 0.1 s per list, so do not load on import.
    return PublicSuffixList(only_icann=registries_only)


def is_registrable(domain: str) -> bool:
    """Whether all subdomains of a domain probably have one owner."""
    labels = domain.split(".")
    if labels[-1].isdecimal() or any(".".join(labels[index:]) in _SHARED for index in range(len(labels))):
        return False
    registry = _suffixes(registries_only=True).publicsuffix(domain)
    return registry not in (None, domain) and registry == _suffixes(registries_only=False).publicsuffix(domain)


def group_by_domain(hosts: Iterable[str]) -> dict[str, str]:
    """Return the pattern for each host: C{*.domain} if the domain has several hosts, otherwise the host itself."""
    names = sorted(set(hosts))
    below: dict[str, list[str]] = {}
    for host in names:
        _, dot, domain = host.partition(".")
        if dot and parse_ip(host) is None and is_registrable(domain):
            below.setdefault(domain, []).append(host)
    patterns = {host: host for host in names}
    for domain, found in below.items():
        if len(found) >= MANY_HOSTS:
            patterns.update(dict.fromkeys(found, f"*.{domain}"))
    return patterns
