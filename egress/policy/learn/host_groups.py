"""Several hosts of one domain as C{*.domain}, where the domain belongs to one owner.

The Public Suffix List tells where owners begin:

  - never a top-level domain, or a domain of a registry (C{co.uk}, C{com.br}); the rest of a name that the list does
    not know is below its top-level domain;
  - never a domain whose owner gives names in it to other people (C{github.io}), nor a domain in it.  A few such domains
    are not on the list (C{amazonaws.com}); they are here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

from publicsuffixlist import PublicSuffixList

from egress.model.authority import parse_ip

MANY_HOSTS: Final = 3
"""So many hosts of one domain are worth a pattern."""

# Where customers have names: domains that the list, or an older version of it that may be installed, does not have.
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
    # 0.1 s each: not when this module is imported.
    return PublicSuffixList(only_icann=registries_only)


def is_registrable(domain: str) -> bool:
    """Whether all that is below a domain is likely to belong to one owner."""
    labels = domain.split(".")
    if labels[-1].isdecimal() or any(".".join(labels[index:]) in _SHARED for index in range(len(labels))):
        return False
    registry = _suffixes(registries_only=True).publicsuffix(domain)
    return registry not in (None, domain) and registry == _suffixes(registries_only=False).publicsuffix(domain)


def group_by_domain(hosts: Iterable[str]) -> dict[str, str]:
    """Give the pattern for each host: C{*.domain} where several belong to it, otherwise the host itself."""
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
