"""Squid with TLS interception, in the OpenSSL build of Debian.

With C{bump} at the first step, Squid signs for the name in the CONNECT without a connection to the origin.  Squid then
reuses its origin connections for later clients; at a later step, it does not.

With an authorization service, a helper of this project (C{squid_authz.c}) sends the authorization requests.  It is an
external ACL of Squid, whose cache is off, so each request causes one authorization request.  With the concurrency
protocol, one helper handles any number of concurrent requests; the option C{helpers} sets the number of helpers.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.peers.base import (
    EVERYTHING,
    HERE,
    PeerFailed,
    Setup,
    Started,
    compiled,
    find_program,
    launch,
    needed,
    new_authority,
    run,
    version_in,
)

_VARIABLE = "EGRESS_BENCH_SQUID"
_USER = "proxy"  # the user of Squid when root starts it

_CONFIGURATION = """\
http_port 127.0.0.1:{port} {balanced} {bumping}
pid_filename {directory}/squid.pid
coredump_dir {directory}
hosts_file /etc/hosts
cache_log {directory}/cache.log
access_log none
cache_store_log none
logfile_rotate 0
cache deny all
cache_mem 0
memory_cache_mode disk
memory_pools on
pinger_enable off
icp_port 0
htcp_port 0
digest_generation off
netdb_filename none
client_db off
via off
forwarded_for delete
strip_query_terms off
half_closed_clients off
max_filedescriptors 16384
shutdown_lifetime 0 seconds
server_persistent_connections on
client_persistent_connections on
pconn_timeout 10 minutes
server_idle_pconn_timeout 10 minutes
"""

_BUMPING = """\
sslcrtd_program {certgen} -s {directory}/certificates -M 16MB
sslcrtd_children 4 startup=1 idle=1
tls_outgoing_options cafile={origin_ca} default-ca=off
ssl_bump bump all
"""

_LOCAL_RULE = """\
acl denied urlpath_regex /denied/
http_access deny denied
http_access allow all
"""

_AUTHORIZER = """\
external_acl_type authorizer ttl=0 negative_ttl=0 grace=0 cache=0 concurrency={concurrency} \
children-max={helpers} children-startup={helpers} children-idle={helpers} ipv4 %METHOD %URI {helper} {host} {port}
acl authorized external authorizer
{tunnels}
http_access allow authorized
http_access deny all
"""


class Squid:
    """One worker."""

    name = "Squid"
    can = EVERYTHING

    def missing(self) -> str | None:
        """Another Debian package of the same name cannot intercept."""
        squid = find_program("squid", _VARIABLE)
        if squid is None or not _certgen(squid).exists() or "--with-openssl" not in run([squid, "-v"]):
            return f"apt-get install squid-openssl (instead of squid), or name its program in {_VARIABLE}"
        if shutil.which("gcc") is None:
            return "apt-get install gcc libc6-dev"
        return None

    def version(self) -> str:
        """Return the version of the package of Debian."""
        return version_in(run([needed("squid", _VARIABLE), "-v"]))

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it in the foreground."""
        directory = setup.directory
        authority = new_authority(directory)
        bumping = ""
        if intercept:
            bumping = (
                f"ssl-bump tls-cert={authority.certificate} tls-key={authority.key}"
                " generate-host-certificates=on dynamic_cert_mem_cache_size=16MB"
            )
        # The scorecard also plays the PROXY protocol, of these load balancers.
        balancers = setup.options.get("balancers")
        balanced = "require-proxy-header" if balancers else ""
        text = _CONFIGURATION.format(port=setup.port, balanced=balanced, bumping=bumping, directory=directory)
        if balancers:
            text += f"acl balancers src {balancers}\nproxy_protocol_access allow balancers\n"
        if intercept:
            certgen = _certgen(needed("squid", _VARIABLE))
            run([certgen, "-c", "-s", directory / "certificates", "-M", "16MB"])
            text += _BUMPING.format(certgen=certgen, directory=directory, origin_ca=setup.origin_ca)
        if setup.authz_url is None:
            text += _LOCAL_RULE
        else:
            text += self._authorizer(setup, intercept)
        configuration = directory / "squid.conf"
        configuration.write_text(text, encoding="utf-8")
        _give_away(directory)
        command: list[str | Path] = [needed("squid", _VARIABLE), "-N", "-f", configuration]
        return launch(setup, command, ca=authority.certificate, logs=[directory / "cache.log"])

    def _authorizer(self, setup: Setup, intercept: bool) -> str:
        compiler = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra"]
        helper = compiled(HERE / "squid_authz.c", setup.native / "squid_authz", compiler, {})
        # A copy that its user can execute, independently of the original path.
        copy = setup.directory / helper.name
        shutil.copy(helper, copy)
        helpers = int(setup.options.get("helpers", "1"))
        service = urlsplit(setup.authz_url)
        if not service.hostname or not service.port:
            raise PeerFailed(f"{setup.authz_url} has no host and port")
        return _AUTHORIZER.format(
            concurrency=10_000,
            helpers=helpers,
            helper=copy,
            host=service.hostname,
            port=service.port,
            # In an intercepted connection, each inner request gets an authorization request.
            tunnels="acl tunnels method CONNECT\nhttp_access allow tunnels" if intercept else "",
        )


def _certgen(squid: Path) -> Path:
    return squid.parent.parent / "lib" / "squid" / "security_file_certgen"


def _give_away(directory: Path) -> None:
    if os.geteuid():
        return
    user = pwd.getpwnam(_USER)
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)
