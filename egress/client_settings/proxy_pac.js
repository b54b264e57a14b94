// Every request leaves through the proxy, except to the hosts below. Without the proxy, requests fail.
var proxy = "@proxy@";
var direct = "@direct@";
var ports = {http: 80, ws: 80, https: 443, wss: 443, ftp: 21};

function endsWith(host, ending) {
  return host.length >= ending.length && host.substring(host.length - ending.length) === ending;
}

// The bytes of an address; null for a name.
function bytesOf(host) {
  var bytes = [], halves, head, tail, parts, part, i;
  if (/^[0-9]{1,3}([.][0-9]{1,3}){3}$/.test(host)) {
    parts = host.split(".");
    for (i = 0; i < 4; i++) {
      if (parts[i] > 255) return null;
      bytes.push(+parts[i]);
    }
    return bytes;
  }
  if (host.indexOf(":") < 0) return null;
  halves = host.split("::");
  head = halves[0] ? halves[0].split(":") : [];
  tail = halves[1] ? halves[1].split(":") : [];
  while (halves.length === 2 && head.length + tail.length < 8) head.push("0");
  parts = head.concat(tail);
  if (parts.length !== 8) return null;
  for (i = 0; i < 8; i++) {
    if (!/^[0-9a-f]{1,4}$/.test(parts[i])) return null;
    part = parseInt(parts[i], 16);
    bytes.push(part >> 8, part & 255);
  }
  for (i = 0; i < 10; i++) if (bytes[i]) return bytes;
  // An IPv4-mapped address is the IPv4 address.
  return bytes[10] === 255 && bytes[11] === 255 ? bytes.slice(12) : bytes;
}

function inNetwork(bytes, network, bits) {
  var i, rest;
  if (bytes.length !== network.length) return false;
  for (i = 0; bits > 0; i++, bits -= 8) {
    rest = bits < 8 ? 8 - bits : 0;
    if (bytes[i] >> rest !== network[i] >> rest) return false;
  }
  return true;
}

function FindProxyForURL(url, host) {
  var found = /^([a-z][a-z0-9+.-]*):[/][/](?:[^/?#]*@)?(?:\[[^\]]*\]|[^:/?#]*)(?::([0-9]+))?/i.exec(url);
  var port = found ? +(found[2] || ports[found[1].toLowerCase()] || 0) : 0;
  var i, entry, bytes;
  host = host.toLowerCase().replace(/^\[|\]$/g, "").replace(/[.]$/, "");
  bytes = bytesOf(host);
  if (direct.everything) return "DIRECT";
  for (i = 0; i < direct.hosts.length; i++) {
    entry = direct.hosts[i];
    if (entry.port && entry.port !== port) continue;
    if (entry.exact && host === entry.host) return "DIRECT";
    if (entry.subdomains && endsWith(host, "." + entry.host)) return "DIRECT";
  }
  if (bytes === null) {
    for (i = 0; i < direct.endings.length; i++) if (endsWith(host, direct.endings[i])) return "DIRECT";
    return proxy;
  }
  for (i = 0; i < direct.networks.length; i++) {
    entry = direct.networks[i];
    if (inNetwork(bytes, entry.bytes, entry.bits)) return "DIRECT";
  }
  return proxy;
}
