"""Several hosts of one domain as C{*.domain}, where the domain belongs to one owner.

Who owns what is below a name cannot be told from the name; the list that browsers keep for that is long and changes
every week.  Here is a small rule that errs to the side of more hosts on the list:

  - never below a top-level domain, nor below what has at most three letters, or one of a few words, before a
    country's (C{co.uk}, C{com.au}, C{edu.pl});
  - never in the domain of somebody who gives names in it to anybody (C{github.io}, C{amazonaws.com}).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from egress.model.authority import parse_ip

MANY_HOSTS: Final = 3
"""So many hosts of one domain are worth a pattern."""

_COUNTRY: Final = 2
_SHORT: Final = 3
_REGISTRIES: Final = frozenset({"asso", "firm", "govt", "info", "mobi", "name", "school", "store"})

# Where customers have names: hosting, clouds, content delivery, tunnels, dynamic names.
_SHARED: Final = frozenset(
    {
        *("amazonaws.com", "amazonaws.com.cn", "amplifyapp.com", "awsapprunner.com", "cloudfront.net"),
        *("elasticbeanstalk.com", "on.aws", "awsapps.com"),
        *("azurecontainer.io", "azureedge.net", "azurefd.net", "azurestaticapps.net", "azurewebsites.net"),
        *("azure-api.net", "azurecr.io", "cloudapp.net", "cloudapp.azure.com", "trafficmanager.net", "windows.net"),
        *("appspot.com", "cloudfunctions.net", "firebaseapp.com", "googleapis.com", "googleusercontent.com"),
        *("run.app", "web.app", "withgoogle.com", "blogspot.com", "translate.goog"),
        *("akamaihd.net", "akamaized.net", "edgekey.net", "edgesuite.net", "fastly.net", "fastlylb.net"),
        *("b-cdn.net", "cdn77.org", "r2.dev", "pages.dev", "workers.dev", "cloudflare.net", "trycloudflare.com"),
        *("deno.dev", "fly.dev", "glitch.me", "herokuapp.com", "netlify.app", "now.sh", "onrender.com"),
        *("railway.app", "render.com", "repl.co", "replit.app", "replit.dev", "stackblitz.io", "surge.sh"),
        *("up.railway.app", "vercel.app", "vercel.dev", "webcontainer.io", "lovable.app", "hf.space"),
        *("bitbucket.io", "codeberg.page", "github.dev", "github.io", "githubpreview.dev", "gitlab.io"),
        *("githubusercontent.com", "sourceforge.io", "readthedocs.io", "readthedocs-hosted.com", "rtfd.io"),
        *("myshopify.com", "squarespace.com", "wixsite.com", "wordpress.com", "weebly.com", "tumblr.com"),
        *("digitaloceanspaces.com", "ondigitalocean.app", "backblazeb2.com", "linodeobjects.com", "wasabisys.com"),
        *("oraclecloud.com", "ovh.net", "scw.cloud", "aliyuncs.com", "myqcloud.com", "kasserver.com"),
        *("ngrok.app", "ngrok.dev", "ngrok.io", "ngrok-free.app", "loca.lt", "serveo.net", "localtunnel.me"),
        *("pstmn.io", "requestbin.net", "pipedream.net", "webhook.site", "oast.fun", "interact.sh", "oastify.com"),
        *("duckdns.org", "dyndns.org", "no-ip.org", "nip.io", "sslip.io", "xip.io", "dynv6.net", "freeddns.org"),
        *("zendesk.com", "atlassian.net", "sharepoint.com", "slack.com", "supabase.co", "auth0.com", "okta.com"),
    }
)


def has_one_owner(domain: str) -> bool:
    """Whether all that is below a domain is likely to belong to one owner."""
    labels = domain.split(".")
    if len(labels) < 2 or labels[-1].isdecimal():
        return False
    if len(labels) == 2 and len(labels[1]) == _COUNTRY and (len(labels[0]) <= _SHORT or labels[0] in _REGISTRIES):
        return False
    return not any(".".join(labels[index:]) in _SHARED for index in range(len(labels)))


def grouped(hosts: Iterable[str]) -> dict[str, str]:
    """Give the pattern for each host: C{*.domain} where several belong to it, otherwise the host itself."""
    names = sorted(set(hosts))
    below: dict[str, list[str]] = {}
    for host in names:
        _, dot, domain = host.partition(".")
        if dot and parse_ip(host) is None and has_one_owner(domain):
            below.setdefault(domain, []).append(host)
    patterns = {host: host for host in names}
    for domain, found in below.items():
        if len(found) >= MANY_HOSTS:
            patterns.update(dict.fromkeys(found, f"*.{domain}"))
    return patterns
