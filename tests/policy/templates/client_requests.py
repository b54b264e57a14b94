"""The requests of real clients, and requests that resemble them, for each template.

They are as the clients write them: apt and npm encode some characters, for example, and go writes capitals as "!" and a
small letter.
"""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class Requests:
    """Requests, each as C{METHOD URL}.

    @ivar allowed: what a client sends.
    @ivar denied: near misses.
    """

    allowed: tuple[str, ...]
    denied: tuple[str, ...]


BY_TEMPLATE: Final = {
    "metadata": Requests(
        (),
        (
            "GET http://169.254.169.254/latest/api/token",
            "GET http://169.254.169.254:8080/",
            "GET http://[64:ff9b::a9fe:a9fe]/latest/",
            "GET http://METADATA.google.internal./computeMetadata/v1/",
            "GET http://168.63.129.16/machine/?comp=goalstate",
            "GET http://100.100.100.200/latest/meta-data/",
        ),
    ),
    "npm": Requests(
        (
            "GET https://registry.npmjs.org/express",
            "HEAD https://registry.npmjs.org/express",
            "GET https://registry.npmjs.org/express/-/express-4.19.2.tgz",
            "GET https://registry.npmjs.org/@babel%2fcore",
            "GET https://registry.npmjs.org/@babel/core/-/core-7.24.0.tgz",
            "GET https://registry.npmjs.org/@babel%2Fcore",
            "GET https://registry.npmjs.org/pnpm/9.1.0",
            "GET https://registry.npmjs.org/@yarnpkg/cli-dist/latest",
            "POST https://registry.npmjs.org/-/npm/v1/security/advisories/bulk",
            "POST https://registry.npmjs.org/-/npm/v1/security/audits/quick",
            "GET https://registry.npmjs.org/-/npm/v1/keys",
            "GET https://registry.npmjs.org/-/npm/v1/attestations/sigstore@2.1.0",
            "GET https://tuf-repo-cdn.sigstore.dev/15.root.json",
            "GET https://registry.yarnpkg.com/lodash",
            "GET https://registry.yarnpkg.com/@babel%2fcore",
            "GET https://repo.yarnpkg.com/tags",
        ),
        (
            "PUT https://registry.npmjs.org/-/user/org.couchdb.user:example",
            "DELETE https://registry.npmjs.org/express/-rev/1-0",
            "GET https://registry.npmjs.org/-/npm/v1/user",
            "GET https://registry.npmjs.org/-/npm/v1/tokens",
            "GET https://registry.npmjs.org/express/-/../../-/whoami",
            "GET https://registry.npmjs.org/express/..%2f-/whoami",
            "POST https://registry.npmjs.org/express",
            "GET https://registry.npmjs.org:8443/express",
            "GET https://registry.npmjs.com/express",
            "GET https://npmjs.org/express",
            "GET https://yarnpkg.com/express",
            "GET https://repo.yarnpkg.com/4.1.0/packages/other/bin/yarn.js",
        ),
    ),
    "npm-publish": Requests(
        (
            "PUT https://registry.npmjs.org/example",
            "PUT https://registry.npmjs.org/@example%2fpackage",
            "PUT https://registry.npmjs.org/-/package/@example%2fpackage/dist-tags/next",
            "POST https://registry.npmjs.org/-/npm/v1/oidc/token/exchange/package/example",
        ),
        (
            "DELETE https://registry.npmjs.org/-/package/example/dist-tags/next",
            "POST https://registry.npmjs.org/-/package/example/access",
            "POST https://registry.npmjs.org/-/npm/v1/tokens",
            "PUT https://registry.npmjs.org/-/org/example/user",
        ),
    ),
    "pypi": Requests(
        (
            "GET https://pypi.org/simple/twisted/",
            "HEAD https://pypi.org/simple/twisted/",
            "GET https://files.pythonhosted.org/packages/f3/8e/7af3/twisted-24.3.0-py3-none-any.whl.metadata",
            "GET https://files.pythonhosted.org/packages/f3/8e/7af3/twisted-24.3.0-py3-none-any.whl",
            "GET https://pypi.org/pypi/twisted/json",
        ),
        (
            "PUT https://pypi.org/simple/twisted/",
            "GET https://pypi.org/",
            "GET https://pypi.org/search/?q=secret",
            "GET https://pypi.org/simple/twisted/../../manage/account/",
            "POST https://files.pythonhosted.org/packages/f3/8e/7af3/twisted.whl",
            "GET http://pypi.org/simple/twisted/",
            "GET https://test.pypi.org/simple/twisted/",
            "GET https://pythonhosted.org/packages/f3/8e/7af3/twisted.whl",
        ),
    ),
    "pypi-publish": Requests(
        ("POST https://upload.pypi.org/legacy/", "GET https://pypi.org/_/oidc/audience"),
        (
            "POST https://upload.pypi.org/",
            "POST https://test.pypi.org/legacy/",
            "POST https://pypi.org/_/oidc/audience",
            "POST https://pypi.org/account/login/",
        ),
    ),
    "crates": Requests(
        (
            "GET https://index.crates.io/config.json",
            "GET https://index.crates.io/1/a",
            "GET https://index.crates.io/2/cc",
            "GET https://index.crates.io/3/l/log",
            "GET https://index.crates.io/to/ki/tokio",
            "GET https://static.crates.io/crates/tokio/1.37.0/download",
            "GET https://crates.io/api/v1/crates/tokio/1.37.0/download",
        ),
        (
            "PUT https://crates.io/api/v1/crates/new",
            "DELETE https://crates.io/api/v1/crates/tokio/1.37.0/yank",
            "GET https://crates.io/api/v1/crates/tokio/owners",
            "GET https://static.crates.io/db-dump.tar.gz",
            "GET https://index.crates.io/a/b/c/d",
        ),
    ),
    "rustup": Requests(
        (
            "GET https://static.rust-lang.org/dist/2024-05-02/rustc-1.78.0-x86_64-unknown-linux-gnu.tar.xz",
            "GET https://static.rust-lang.org/rustup/release-stable.toml",
        ),
        ("PUT https://static.rust-lang.org/dist/a", "GET https://www.rust-lang.org/dist/a"),
    ),
    "go": Requests(
        (
            "GET https://proxy.golang.org/golang.org/x/net/@v/list",
            "GET https://proxy.golang.org/golang.org/x/net/@v/v0.24.0.info",
            "GET https://proxy.golang.org/golang.org/x/net/@v/v0.24.0.mod",
            "GET https://proxy.golang.org/golang.org/x/net/@v/v0.24.0.zip",
            "GET https://proxy.golang.org/github.com/!burnt!sushi/toml/@latest",
            "GET https://proxy.golang.org/github.com/docker/docker/@v/v26.1.0+incompatible.mod",
            "GET https://proxy.golang.org/sumdb/sum.golang.org/supported",
            "GET https://proxy.golang.org/sumdb/sum.golang.org/tile/8/1/075",
            "GET https://sum.golang.org/lookup/golang.org/x/net@v0.24.0",
            "GET https://storage.googleapis.com/proxy-golang-org-prod/0a-golang.org:x:net-v0.24.0.zip?Expires=1",
        ),
        (
            "GET https://proxy.golang.org/golang.org/x/net?go-get=1",
            "POST https://proxy.golang.org/golang.org/x/net/@v/list",
            "GET https://proxy.golang.org/sumdb/sum.example.com/supported",
            "GET https://storage.googleapis.com/proxy-golang-org-prod/../other-bucket/a",
            "GET https://storage.googleapis.com/other-bucket/a",
            "GET https://storage.googleapis.com/",
            "GET https://go.dev/dl/",
        ),
    ),
    "maven": Requests(
        (
            "GET https://repo.maven.apache.org/maven2/com/google/guava/guava/33.1.0-jre/guava-33.1.0-jre.jar",
            "GET https://repo1.maven.org/maven2/com/google/guava/guava/33.1.0-jre/guava-33.1.0-jre.jar.sha1",
        ),
        (
            "GET https://repo.maven.apache.org/",
            "PUT https://repo1.maven.org/maven2/a/a/1/a.jar",
            "GET https://repo.maven.apache.org.example.com/maven2/a",
            "GET https://central.sonatype.com/maven2/a",
        ),
    ),
    "gradle": Requests(
        (
            "HEAD https://services.gradle.org/distributions/gradle-8.7-bin.zip",
            "GET https://services.gradle.org/versions/current",
            "GET https://plugins-artifacts.gradle.org/org.example/a/1.0/0123/a-1.0.jar",
            "GET https://repo.maven.apache.org/maven2/a/a/1/a.pom",
        ),
        (
            "GET https://github.com/example/gradle-distributions/releases/download/v8.7.0/gradle-8.7-bin.zip",
            "GET https://scans.gradle.com/",
            "POST https://scans-in.gradle.com/in/1",
        ),
    ),
    "rubygems": Requests(
        (
            "GET https://index.rubygems.org/versions",
            "GET https://index.rubygems.org/info/rails",
            "GET https://rubygems.org/gems/rails-7.1.3.gem",
            "GET https://rubygems.org/quick/Marshal.4.8/rails-7.1.3.gemspec.rz",
            "GET https://rubygems.org/specs.4.8.gz",
        ),
        (
            "POST https://rubygems.org/api/v1/gems",
            "DELETE https://rubygems.org/api/v1/gems/yank",
            "GET https://rubygems.org/api/v1/profile/me.json",
            "GET https://rubygems.org/gems/rails",
        ),
    ),
    "nuget": Requests(
        (
            "GET https://api.nuget.org/v3/index.json",
            "GET https://api.nuget.org/v3/registration5-gz-semver2/serilog/index.json",
            "GET https://api.nuget.org/v3-flatcontainer/serilog/index.json",
        ),
        (
            "PUT https://www.nuget.org/api/v2/package/",
            "GET https://api.nuget.org/v2/",
            "PUT https://api.nuget.org/v3/a",
        ),
    ),
    "debian": Requests(
        (
            "GET http://deb.debian.org/debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/00",
            "GET http://deb.debian.org/debian/pool/main/c/ca-certificates/ca-certificates_20230311_all.deb",
            "GET http://deb.debian.org/debian/pool/main/n/nss/libnss3_2%3a3.87.1-1_amd64.deb",
            "GET http://deb.debian.org/debian-security/dists/bookworm-security/InRelease",
            "GET http://security.debian.org/debian-security/pool/updates/main/c/curl/curl_7.88.1-10%2bdeb12u5_amd64.deb",
        ),
        (
            "PUT http://deb.debian.org/debian/pool/a.deb",
            "GET http://deb.debian.org/debian/pool/../../other/",
            "GET http://bugs.debian.org/debian/pool/a",
            "GET http://deb.debian.org.example.com/debian/dists/bookworm/InRelease",
        ),
    ),
    "ubuntu": Requests(
        (
            "GET http://archive.ubuntu.com/ubuntu/pool/main/g/gcc-13/libstdc%2b%2b6_13.2.0_amd64.deb",
            "GET http://security.ubuntu.com/ubuntu/dists/noble-security/InRelease",
        ),
        (
            "GET http://archive.ubuntu.com/other/dists/",
            "GET http://archive.ubuntu.com.example.com/ubuntu/dists/noble/InRelease",
            "GET http://ubuntu.com/ubuntu/dists/noble/InRelease",
        ),
    ),
    "alpine": Requests(
        (
            "GET https://dl-cdn.alpinelinux.org/alpine/v3.19/community/x86_64/APKINDEX.tar.gz",
            "GET https://dl-cdn.alpinelinux.org/alpine/v3.19/main/x86_64/curl-8.5.0-r0.apk",
        ),
        ("GET https://dl-cdn.alpinelinux.org/", "PUT https://dl-cdn.alpinelinux.org/alpine/v3.19/main/x86_64/a.apk"),
    ),
    "github": Requests(
        (
            "GET https://github.com/twisted/twisted.git/info/refs?service=git-upload-pack",
            "GET https://github.com/twisted/twisted/info/refs?service=git-upload-pack",
            "POST https://github.com/twisted/twisted/git-upload-pack",
            "GET https://github.com/twisted/twisted/archive/refs/heads/trunk.zip",
            "GET https://codeload.github.com/twisted/twisted/zip/refs/heads/trunk",
            "GET https://raw.githubusercontent.com/twisted/twisted/trunk/README.rst",
            "GET https://objects.githubusercontent.com/github-production-release-asset-2e65be/1/2?X-Amz-Date=1",
            "GET https://github-cloud.githubusercontent.com/alambic/media/1/2/3?X-Amz-Date=1",
        ),
        (
            "GET https://github.com/twisted/twisted.git/info/refs?service=git-receive-pack",
            "GET https://github.com/twisted/twisted.git/info/refs",
            "POST https://github.com/twisted/twisted.git/git-receive-pack",
            "GET https://github.com/settings/tokens",
            "POST https://github.com/session",
            "GET https://api.github.com/user",
            "POST https://github.com/twisted/twisted.git/info/lfs/locks",
            "GET https://github-cloud.githubusercontent.com.example.com/alambic/media/1",
            "PUT https://github-cloud.githubusercontent.com/alambic/media/1/2/3",
        ),
    ),
    "github-push": Requests(
        (
            "GET https://github.com/twisted/twisted.git/info/refs?service=git-receive-pack",
            "POST https://github.com/twisted/twisted.git/git-receive-pack",
            "POST https://github.com/twisted/twisted/git-receive-pack",
        ),
        ("POST https://github.com/git-receive-pack", "DELETE https://github.com/twisted/twisted.git/git-receive-pack"),
    ),
    "github-api": Requests(
        (
            "GET https://api.github.com/repos/twisted/twisted",
            "GET https://api.github.com/repos/twisted/twisted/releases/tags/v1",
            "GET https://api.github.com/rate_limit",
        ),
        (
            "PATCH https://api.github.com/repos/twisted/twisted",
            "GET https://api.github.com/user/repos",
            "POST https://api.github.com/graphql",
            "PUT https://api.github.com/repos/twisted/twisted/contents/a",
        ),
    ),
    "docker-hub": Requests(
        (
            "GET https://registry-1.docker.io/v2/",
            "GET https://auth.docker.io/token?scope=repository%3Alibrary%2Falpine%3Apull&service=registry.docker.io",
            "POST https://auth.docker.io/token",
            "GET https://registry-1.docker.io/v2/bitnami/redis/manifests/sha256:0123",
            "GET https://registry-1.docker.io/v2/library/alpine/blobs/sha256:0123",
            "GET https://production.cloudfront.docker.com/registry-v2/docker/registry/v2/blobs/sha256/01/0123/data",
        ),
        (
            "POST https://registry-1.docker.io/v2/example/a/blobs/uploads/?mount=sha256:0&from=library/alpine",
            "PUT https://registry-1.docker.io/v2/example/a/blobs/uploads/1?digest=sha256:0",
            "DELETE https://registry-1.docker.io/v2/example/a/manifests/latest",
            "GET https://registry-1.docker.io/v2/_catalog",
            "POST https://hub.docker.com/v2/users/login",
            "PUT https://production.cloudflare.docker.com/a",
        ),
    ),
    "container-registries": Requests(
        (
            "GET https://ghcr.io/token?scope=repository%3Aexample%2Fa%3Apull&service=ghcr.io",
            "GET https://quay.io/v2/auth?service=quay.io&scope=repository:example/a:pull",
            "GET https://quay.io/v2/prometheus/prometheus/manifests/latest",
            "GET https://cdn01.quay.io/quayio-production-s3/sha256/01/0123?X-Amz-Date=1",
            "HEAD https://mcr.microsoft.com/v2/dotnet/sdk/manifests/8.0",
            "GET https://registry-1.docker.io/v2/library/alpine/manifests/3.19",
        ),
        (
            "POST https://ghcr.io/v2/example/a/blobs/uploads/",
            "GET https://cdn.example.quay.io/a",
            "GET https://data.mcr.microsoft.com/a",
            "POST https://quay.io/oauth/access_token",
        ),
    ),
    "docker-build": Requests(
        (
            "GET https://registry-1.docker.io/v2/docker/dockerfile/manifests/1",
            "GET http://deb.debian.org/debian/dists/bookworm/InRelease",
            "GET http://archive.ubuntu.com/ubuntu/dists/noble/InRelease",
            "GET https://dl-cdn.alpinelinux.org/alpine/v3.19/main/x86_64/APKINDEX.tar.gz",
        ),
        ("PUT https://registry-1.docker.io/v2/example/a/manifests/latest", "GET https://registry.npmjs.org/express"),
    ),
    "anthropic": Requests(
        (
            "POST https://api.anthropic.com/v1/messages",
            "POST https://api.anthropic.com/v1/messages/count_tokens",
            "GET https://api.anthropic.com/v1/models",
        ),
        (
            "GET https://api.anthropic.com/v1/messages",
            "POST https://api.anthropic.com/v1/messages/../files",
            "POST https://api.anthropic.com/v1/organizations/invites",
            "GET https://api.anthropic.com.example.com/v1/models",
        ),
    ),
    "openai": Requests(
        (
            "POST https://api.openai.com/v1/responses",
            "GET https://api.openai.com/v1/responses/resp_1",
            "POST https://api.openai.com/v1/embeddings",
        ),
        (
            "POST https://api.openai.com/v1/files",
            "DELETE https://api.openai.com/v1/responses/resp_1",
            "POST https://api.openai.com/v1/fine_tuning/jobs",
            "POST https://openai.com/v1/responses",
        ),
    ),
    "sigstore-verify": Requests(
        (
            "GET https://tuf-repo-cdn.sigstore.dev/15.root.json",
            "GET https://tuf-repo-cdn.sigstore.dev/timestamp.json",
            "GET https://tuf-repo-cdn.sigstore.dev/targets/6494e2.trusted_root.json",
        ),
        (
            "GET https://tuf-repo-cdn.sigstore.dev/",
            "GET https://tuf-repo-cdn.sigstore.dev.example.com/timestamp.json",
            "POST https://fulcio.sigstore.dev/api/v2/signingCert",
        ),
    ),
    "sigstore": Requests(
        (
            "POST https://fulcio.sigstore.dev/api/v2/signingCert",
            "POST https://rekor.sigstore.dev/api/v1/log/entries",
            "POST https://log2025-1.rekor.sigstore.dev/api/v2/log/entries",
            "GET https://tuf-repo-cdn.sigstore.dev/timestamp.json",
        ),
        (
            "POST https://rekor.sigstore.dev/api/v1/index/retrieve",
            "PUT https://rekor.sigstore.dev/api/v1/log/entries",
            "POST https://sigstore.dev/api/v2/signingCert",
        ),
    ),
    "postman": Requests(
        (
            "GET https://postman-echo.com/get?a=1",
            "PATCH https://postman-echo.com/patch",
            "GET https://api.getpostman.com/collections/1-2?apikey=PMAK-1",
            "GET https://api.getpostman.com/environments/1-2",
        ),
        (
            "POST https://api.getpostman.com/collections",
            "DELETE https://api.getpostman.com/environments/1-2",
            "GET https://api.getpostman.com/me",
            "GET https://api.getpostman.com/workspaces",
            "GET https://evil-postman-echo.com/get",
            "GET https://postman-echo.com:8443/get",
        ),
    ),
}
"""The requests for each template."""
