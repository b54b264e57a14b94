"""HTTP/2 clients in several languages. Each gets the URL of the proxy, the CA, and the URL of the origin's C{/sink}.

Each sends contents of 0 to 190,000 bytes side by side. For each, it prints a line with the version of HTTP, the status
code and the content of the response.
"""

from __future__ import annotations

from typing import Final

HTTPX: Final = """
import asyncio, httpx, ssl, sys
proxy, ca, url = sys.argv[1:]

async def post(client, number):
    answer = await client.post(url, content=bytes(10_000 * number))
    print(answer.http_version, answer.status_code, answer.text)

async def main():
    context = ssl.create_default_context(cafile=ca)
    async with httpx.AsyncClient(http2=True, proxy=proxy, verify=context) as client:
        await asyncio.gather(*(post(client, number) for number in range(20)))

asyncio.run(main())
"""

NODE: Final = """
const fs = require('fs'), http = require('http'), http2 = require('http2'), tls = require('tls');
const [proxy, ca, url] = process.argv.slice(2), target = new URL(url);
const connect = http.request({ port: new URL(proxy).port, host: '127.0.0.1', method: 'CONNECT', path: target.host });
connect.on('connect', (_, socket) => {
  const secure = tls.connect({ socket, servername: target.hostname, ca: fs.readFileSync(ca), ALPNProtocols: ['h2'] });
  const session = http2.connect(target.origin, { createConnection: () => secure });
  let left = 20;
  for (let number = 0; number < 20; number++) {
    const stream = session.request({ ':method': 'POST', ':path': target.pathname });
    let status, text = '';
    stream.on('response', (fields) => { status = fields[':status']; });
    stream.on('data', (data) => { text += data; });
    stream.on('end', () => {
      console.log(secure.alpnProtocol, status, text);
      if (--left === 0) session.close();
    });
    stream.end(Buffer.alloc(10000 * number));
  }
});
connect.end();
"""

JAVA: Final = """
import java.net.*;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.*;
import java.util.concurrent.*;
import javax.net.ssl.*;

public class Http2 {
    public static void main(String[] arguments) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        var file = Files.newInputStream(Path.of(arguments[1]));
        store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        var proxy = URI.create(arguments[0]);
        var address = new InetSocketAddress(proxy.getHost(), proxy.getPort());
        var client = HttpClient.newBuilder().proxy(ProxySelector.of(address)).sslContext(tls).build();
        // The first response tells the client that the origin supports HTTP/2.
        client.send(HttpRequest.newBuilder(URI.create(arguments[2])).build(), HttpResponse.BodyHandlers.ofString());
        var pending = new ArrayList<CompletableFuture<HttpResponse<String>>>();
        for (int number = 0; number < 20; number++) {
            var content = BodyPublishers.ofByteArray(new byte[10000 * number]);
            var request = HttpRequest.newBuilder(URI.create(arguments[2])).POST(content).build();
            pending.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofString()));
        }
        for (var each : pending) {
            var answer = each.get();
            System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body());
        }
    }
}
"""

GO: Final = """
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

func main() {
	pem, _ := os.ReadFile(os.Args[2])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	proxy, _ := url.Parse(os.Args[1])
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	lines := make(chan string)
	for number := 0; number < 20; number++ {
		go func(number int) {
			answer, err := client.Post(os.Args[3], "text/plain", bytes.NewReader(make([]byte, 10000*number)))
			if err != nil {
				lines <- err.Error()
				return
			}
			body, _ := io.ReadAll(answer.Body)
			lines <- fmt.Sprint(answer.Proto, " ", answer.StatusCode, " ", string(body))
		}(number)
	}
	for number := 0; number < 20; number++ {
		fmt.Println(<-lines)
	}
}
"""
