// An authorization service for egressproxy. It allows the methods that a JSON file lists for each host.
//
// Usage: node service.js RULES_FILE
// PORT sets the TCP port, BODY_LIMIT the maximum size of an authorization request.
'use strict';
const express = require('express');
const fs = require('fs');

const rules = new Map(Object.entries(JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))));
const port = Number(process.env.PORT ?? 8181);
const app = express();

// An authorization request contains the body of the request: up to --body-limit of the proxy (16 MiB), as base64 if it
// is not text. The default limit of Express is 100 kB.
app.use(express.json({ limit: process.env.BODY_LIMIT ?? '25mb' }));

app.post('/validate', (request, response) => {
  const { url, method } = request.body ?? {};
  if (!url || !method || !URL.canParse(url)) {
    return response.status(400).json({ allowed: false, reason: 'url or method is missing or invalid' });
  }
  const { hostname } = new URL(url);
  const methods = rules.get(hostname);
  if (methods === undefined) {
    return response.status(403).json({ allowed: false, reason: `${hostname} is not in the list of hosts`, ruleId: 'hosts' });
  }
  if (!methods.includes(method)) {
    return response.status(403).json({ allowed: false, reason: `${method} to ${hostname} is not allowed`, ruleId: 'methods' });
  }
  return response.status(200).json({ allowed: true, reason: `${method} to ${hostname} is allowed`, ruleId: 'methods' });
});

// A response without "allowed" is not a decision: the proxy forwards nothing, and its client gets 503.
app.use((error, request, response, next) => {
  console.error(error.message);
  response.status(error.status ?? 500).json({ error: error.message });
});

const server = app.listen(port, '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`authorization service: http://127.0.0.1:${port}/validate`);
});
process.on('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
});
