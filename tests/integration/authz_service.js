// An authorization service like the sample in the documentation of the Postman runner's built-in proxy.
// Every question is appended to a file, so that tests can see exactly what was asked.
//
// Usage: node authz_service.js PORT RECORD_FILE [METHOD ...]: these methods are denied.
'use strict';
const express = require('express');
const fs = require('fs');

const [port, record, ...denied] = process.argv.slice(2);
const app = express();
app.use(express.json({ limit: '10mb' }));

app.post('/validate', (request, response) => {
  fs.appendFileSync(record, JSON.stringify(request.body) + '\n');
  const { url, method } = request.body;
  if (!url || !method) return response.status(400).json({ allowed: false });
  if (denied.includes(method)) {
    return response.status(403).json({ allowed: false, reason: `${method} is not allowed by the team`, ruleId: 'no-writes' });
  }
  return response.status(200).json({ allowed: true });
});

app.listen(Number(port), '127.0.0.1');
