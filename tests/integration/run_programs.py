"""Programs that print the contents of the URLs in their arguments, one for each library."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.integration.processes import environment, program

PYTHON: Final = """
import sys
from {library} import {get}
for url in sys.argv[1:]:
    try:
        answer = {get}(url)
        print(getattr(answer, "text", None) or answer.read().decode())
    except OSError as error:
        print(error.read().decode())
"""

AIOHTTP: Final = """
import aiohttp, asyncio, sys

async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        for url in sys.argv[1:]:
            async with session.get(url) as answer:
                print(await answer.text())

asyncio.run(main())
"""

JAVA: Final = """
import java.net.*;
import java.net.http.*;

public class Get {
    public static void main(String[] urls) throws Exception {
        for (String url : urls) {
            var connection = (HttpURLConnection) new URL(url).openConnection();
            boolean denied = connection.getResponseCode() == 403;
            var content = denied ? connection.getErrorStream() : connection.getInputStream();
            System.out.println(new String(content.readAllBytes()));
            var client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();
            var request = HttpRequest.newBuilder(URI.create(url)).build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
        }
    }
}
"""

# request is the library below newman.
REQUEST: Final = """
const request = require(process.argv[2]);
const next = (urls) => urls.length && request(urls[0], (error, answer, body) => {
    console.log(error || body);
    next(urls.slice(1));
});
next(process.argv.slice(3));
"""

FETCH: Final = """
(async () => {
    for (const url of process.argv.slice(2)) console.log(await (await fetch(url)).text());
})();
"""

AXIOS: Final = """
const axios = require(process.argv[2]);
(async () => {
    for (const url of process.argv.slice(3)) {
        const answer = await axios.get(url, { validateStatus: null });
        console.log(answer.data);
    }
})();
"""

PHP: Final = """<?php
foreach (array_slice($argv, 1) as $url) {
    $request = curl_init($url);
    curl_setopt($request, CURLOPT_RETURNTRANSFER, true);
    echo curl_exec($request) ?: curl_error($request), "\\n";
}
"""

PERL: Final = """
use LWP::UserAgent;
my $agent = LWP::UserAgent->new;
print $agent->get($_)->decoded_content, "\\n" for @ARGV;
"""

RUBY: Final = """
require "net/http"
ARGV.each { |url| puts Net::HTTP.get(URI(url)) }
"""

_GO: Final = """
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	for _, url := range os.Args[1:] {
		response, err := http.Get(url)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		content, _ := io.ReadAll(response.Body)
		fmt.Println(string(content))
	}
}
"""


@functools.cache
def go_program() -> str:
    """Build the Go program once; it has only the standard library.

    @return: the path of the executable.
    """
    go = program("go")
    directory = Path(tempfile.mkdtemp(prefix="egress-go-"))
    atexit.register(shutil.rmtree, directory, True)
    source = directory / "get.go"
    source.write_text(_GO)
    variables = environment(GOCACHE=str(directory / "cache"), GOPROXY="off", GOFLAGS="-mod=mod", GOTOOLCHAIN="local")
    # The resolver of Go itself, as in most released programs.
    build = [go, "build", "-tags", "netgo", "-o", str(directory / "get"), str(source)]
    subprocess.run(build, check=True, timeout=300, cwd=directory, env=variables)
    return str(directory / "get")
