// A proxy of the library mockttp that decides on every request by an authorization service. It accepts HTTP/2.
//
//     node mockttp.js PORT CA_KEY CA_CERTIFICATE ORIGIN_CA AUTHZ_URL [socks] [content]
//
// With "socks", it also accepts SOCKS5. With "content", it also decides on the content of requests, which it reads with
// the decoders and parsers of mockttp.
"use strict";

const fs = require("fs");
const mockttp = require("mockttp");

const [port, keyPath, certPath, originCA, authzURL, ...features] = process.argv.slice(2);

const REFUSALS = { no: [403, "denied\n"], unknown: [503, "no decision\n"] };

async function decide(request) {
    try {
        const answer = await fetch(new URL("/validate", authzURL), {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({
                url: request.url,
                method: request.method,
                headers: JSON.stringify(request.headers),
            }),
            signal: AbortSignal.timeout(5000),
        });
        const { allowed } = await answer.json();
        if (allowed === false) return "no";
        return allowed === true && answer.status === 200 ? "yes" : "unknown";
    } catch {
        return "unknown";
    }
}

// As the authorizer of the scorecard, which also recognizes names of arrays.
const ADMIN = /^\s*admin\s*(\[.*)?$/i;

async function isDenied({ headers, body }) {
    const kind = (headers["content-type"] || "").split(";")[0].trim().toLowerCase();
    if (kind === "application/json") return String((await body.getJson()).environment).startsWith("prod");
    const names =
        kind === "multipart/form-data"
            ? (await body.getMultipartFormData()).map(({ name }) => name)
            : Object.keys(await body.getUrlEncodedFormData());
    return names.length === 0 || names.some((name) => ADMIN.test(name));
}

async function decideOnContent(request) {
    const decision = await decide(request);
    if (decision !== "yes" || !features.includes("content")) return decision;
    return (await isDenied(request).catch(() => true)) ? "no" : "yes";
}

async function beforeRequest(request) {
    const decision = await decideOnContent(request);
    if (decision === "yes") return {};
    const [statusCode, body] = REFUSALS[decision];
    return { response: { statusCode, body } };
}

async function main() {
    const server = mockttp.getLocal({
        https: { key: fs.readFileSync(keyPath, "utf8"), cert: fs.readFileSync(certPath, "utf8") },
        http2: true,
        socks: features.includes("socks"),
    });
    await server.forAnyRequest().thenPassThrough({ beforeRequest, additionalTrustedCAs: [{ certPath: originCA }] });
    await server.start(Number(port));
}

main();
