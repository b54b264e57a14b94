"""The proxy auto-configuration file (PAC) for browsers.

C{proxy_pac.js} is its script, in ES3, which each engine for such files understands. It resolves no names.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from egress.model.authority import Authority
from egress.model.no_proxy import Bypass

CONTENT_TYPE: Final = "application/x-ns-proxy-autoconfig"


@lru_cache(maxsize=1)
def _script() -> str:
    assert __package__ is not None
    return resources.files(__package__).joinpath("proxy_pac.js").read_text("ascii")


def proxy_pac(proxy: Authority, direct: Bypass, *, tls: bool) -> str:
    """Write the file.

    @param proxy: the address of the proxy, as clients reach it.
    @param direct: the destinations that clients contact directly, without a decision.
    @param tls: whether clients use TLS to the proxy.
    """
    members: dict[str, Any] = {
        "everything": direct.everything,
        "hosts": [
            {"host": each.host, "subdomains": each.subdomains, "exact": each.exact, "port": each.port or 0}
            for each in direct.hosts
        ],
        "networks": [{"bytes": list(each.network_address.packed), "bits": each.prefixlen} for each in direct.networks],
        "endings": direct.endings,
    }
    kind = "HTTPS" if tls else "PROXY"
    # Both are JavaScript, too: normalized hosts contain only ASCII.
    script = _script().replace('"@proxy@"', json.dumps(f"{kind} {proxy}"))
    return script.replace('"@direct@"', json.dumps(members))
