"""Tests for L{egress.policy.learn.host_groups}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.learn.host_groups import group_by_domain, is_registrable

# Domains with names of customers, whether or not they are on the Public Suffix List: suggestions never group them.
SHARED = (
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
)


class HostGroupTests(SynchronousTestCase):
    """The ownership of the names in a domain."""

    def test_registrable(self) -> None:
        for domain in (
            "example.com",
            "cdn.example.com",
            "example.co.uk",
            "company.io",
            "bigshop.de",
            "bbc.co.uk",
            "cdn.loja.com.br",
            "svc.cluster.local",
            "www.ck",
            "xn--bcher-kva.example",
        ):
            self.assertTrue(is_registrable(domain), domain)
        for domain in (
            *("com", "localhost", "co.uk", "com.au", "edu.pl", "store.ro", "192.0.2.1", "2.1"),
            *("github.io", "amazonaws.com", "s3.amazonaws.com", "eu-west-1.amazonaws.com", "blob.core.windows.net"),
            *("herokuapp.com", "ngrok-free.app", "nip.io", "com.br", "ac.jp", "any.ck", "kobe.jp", "xn--55qx5d.cn"),
            *("appspot.com", "com.edgekey.net", "customer.github.io", "fly.dev", "lovable.app", "surge.sh", "hf.space"),
            "postman-echo.com",
            *("internal", "corp", "", "a..example"),
        ):
            self.assertFalse(is_registrable(domain), domain)

    def test_shared_domains(self) -> None:
        """These domains and their subdomains are never grouped."""
        for shared in SHARED:
            for domain in (shared, f"customer.{shared}", f"eu-1.customer.{shared}"):
                self.assertFalse(is_registrable(domain), domain)

    def test_grouped(self) -> None:
        hosts = ["a.example.com", "b.example.com", "c.example.com", "example.com", "192.0.2.1", "::1", "localhost"]
        found = group_by_domain(hosts)
        self.assertEqual({found.pop(f"{name}.example.com") for name in "abc"}, {"*.example.com"})
        self.assertEqual(found, {host: host for host in hosts[3:]})

    def test_not_grouped(self) -> None:
        """Two hosts are too few, and customers of one provider are unrelated."""
        for hosts in (
            ["a.example.com", "b.example.com"],
            [f"{name}.github.io" for name in "abcdef"],
            [f"{name}.com" for name in "abcdef"],
            [f"{name}.co.uk" for name in "abcdef"],
            [f"{name}.com.br" for name in "abcdef"],
            [f"{name}.appspot.com" for name in "abcdef"],
            [f"{name}.unlisted" for name in "abcdef"],
            [f"www.{name}.customer.github.io" for name in "abcdef"],
            [f"10.0.0.{number}" for number in range(6)],
        ):
            self.assertEqual(group_by_domain(hosts), {host: host for host in hosts})
