// A proxy of the library http-mitm-proxy that decides on every request, by a local rule or by an authorization service.
//
//     node http_mitm_proxy.js PORT DIRECTORY ORIGIN_CA intercept|tunnel [AUTHZ_URL]
//
// All intercepted connections use one internal server (forceSNI), an option in its documentation.
"use strict";

const fs = require("fs");
const http = require("http");
const https = require("https");
const net = require("net");
const path = require("path");
const { Proxy } = require("http-mitm-proxy");

const [port, directory, originCA, mode, authzURL] = process.argv.slice(2);

const KEPT = { keepAlive: true, maxSockets: Infinity, maxFreeSockets: 4096 };
const IDLE = 600 * 1000;
const TIMEOUT = 5000;

// Each decision is "yes", "no" or "unknown".

function byRule(method, url, headers, callback) {
    callback(new URL(url).pathname.includes("/denied/") ? "no" : "yes");
}

function byAuthorizer(base) {
    const service = new URL("/validate", base);
    const options = {
        host: service.hostname,
        port: service.port,
        path: service.pathname,
        method: "POST",
        agent: new http.Agent(KEPT),
        timeout: TIMEOUT,
    };
    return function ask(method, url, headers, callback, again = true) {
        const body = JSON.stringify({ url, method, headers: JSON.stringify(headers) });
        const request = http.request(
            { ...options, headers: { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) } },
            (response) => {
                let text = "";
                response.setEncoding("utf8");
                response.on("data", (chunk) => (text += chunk));
                response.on("error", () => callback("unknown"));
                response.on("end", () => callback(decisionIn(response.statusCode, text)));
            },
        );
        request.on("timeout", () => request.destroy(new Error("timeout")));
        request.on("error", () => {
            // The service may have closed an idle connection.
            if (request.reusedSocket && again) ask(method, url, headers, callback, false);
            else callback("unknown");
        });
        request.end(body);
    };
}

function decisionIn(status, text) {
    try {
        const { allowed } = JSON.parse(text);
        if (allowed === false) return "no";
        return allowed === true && status === 200 ? "yes" : "unknown";
    } catch {
        return "unknown";
    }
}

const decide = authzURL ? byAuthorizer(authzURL) : byRule;
const REFUSALS = { no: [403, "denied\n"], unknown: [503, "no decision\n"] };

const proxy = new Proxy();

proxy.onError((ctx, error) => {
    if (process.env.BENCHMARK_VERBOSE) console.error(error);
});

proxy.onRequest((ctx, callback) => {
    const request = ctx.clientToProxyRequest;
    const { host, port: originPort } = ctx.proxyToServerRequestOptions;
    const url = `${ctx.isSSL ? "https" : "http"}://${host}:${originPort}${request.url}`;
    decide(request.method, url, request.headers, (decision) => {
        if (decision === "yes") {
            callback();
            return;
        }
        const [status, text] = REFUSALS[decision];
        request.resume();
        ctx.proxyToClientResponse.writeHead(status, { "Content-Type": "text/plain", "Content-Length": text.length });
        ctx.proxyToClientResponse.end(text);
    });
});

if (mode === "tunnel") {
    proxy.onConnect((request, client, head) => {
        const [, host, originPort] = /^(.*):(\d+)$/.exec(request.url) || [];
        const refuse = (status) => client.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\n\r\n`);
        if (!host) {
            refuse(400);
            return;
        }
        decide("CONNECT", `https://${request.url}/`, request.headers, (decision) => {
            if (decision !== "yes") {
                refuse(REFUSALS[decision][0]);
                return;
            }
            const origin = net.connect({ host, port: Number(originPort), noDelay: true }, () => {
                client.write("HTTP/1.1 200 Connection established\r\n\r\n");
                origin.write(head);
                origin.pipe(client);
                client.pipe(origin);
            });
            origin.on("error", () => client.destroy());
            client.on("error", () => origin.destroy());
            origin.on("close", () => client.destroy());
            client.on("close", () => origin.destroy());
        });
    });
}

// The library prints all connection events on standard output.
console.debug = console.info = () => undefined;

proxy.listen(
    {
        host: "127.0.0.1",
        port: Number(port),
        sslCaDir: path.resolve(directory),
        keepAlive: true,
        forceSNI: true,
        httpAgent: new http.Agent(KEPT),
        httpsAgent: new https.Agent({ ...KEPT, ca: fs.readFileSync(originCA) }),
    },
    (error) => {
        if (error) throw error;
        for (const server of [proxy.httpServer, proxy.httpsServer]) {
            server.keepAliveTimeout = IDLE;
            server.requestTimeout = 0;
        }
    },
);
