// A client or a server of node's tls that says what it knows of each connection. Package tlsstacks says how it is spoken to.
const tls = require('tls'), fs = require('fs'), crypto = require('crypto'), readline = require('readline');

const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok';
const say = what => fs.writeSync(1, JSON.stringify(what) + '\n');
const fingerprint = der => der ? crypto.createHash('sha256').update(der).digest('hex') : '';
const file = name => name ? fs.readFileSync(name) : undefined;
const own = end => end.cert ? fingerprint(new crypto.X509Certificate(file(end.cert)).raw) : '';
const options = end => ({
  minVersion: 'TLSv' + end.version, maxVersion: 'TLSv' + end.version, cert: file(end.cert), key: file(end.key), ca: file(end.ca),
  ALPNProtocols: end.alpn ? end.alpn.split(',') : undefined, rejectUnauthorized: !end.insecure,
});
const tuple = s => ({ local: s.localAddress + ':' + s.localPort, remote: s.remoteAddress + ':' + s.remotePort });
const know = (end, s, at, sni) => ({
  id: end.id, ...at, version: s.getProtocol().replace('TLSv', ''), sni, alpn: s.alpnProtocol || '', resumed: s.isSessionReused(),
  own: own(end), peer: fingerprint(s.getPeerCertificate().raw),
});

function listen(end) {
  return new Promise(done => {
    const server = tls.createServer({ ...options(end), requestCert: end.ca !== '' }, s => {
      const at = tuple(s);
      s.on('error', e => say({ id: end.id, ...at, error: e.message }));
      s.once('data', () => { say(know(end, s, at, s.servername || '')); s.end(answer); });
    });
    server.on('tlsClientError', (e, s) => say({ id: end.id, error: e.message }));
    server.listen(0, '127.0.0.1', 512, () => done('127.0.0.1:' + server.address().port));
  });
}

const sessions = {};
function dial(end) {
  return new Promise(done => {
    const [host, port] = end.address.split(':');
    let told, at = {};
    const tell = what => { if (!told) { told = true; say(what); } };
    const s = tls.connect({ ...options(end), host, port, servername: end.sni || undefined, session: sessions[end.session] }, () => {
      at = tuple(s);
      const truth = know(end, s, at, end.sni);
      s.resume();
      s.on('end', () => { tell(truth); s.end(); });
      s.write('GET / HTTP/1.1\r\nHost: ' + end.sni + '\r\nConnection: close\r\n\r\n');
    });
    if (end.session) s.on('session', x => { sessions[end.session] = x; });
    s.on('error', e => tell({ id: end.id, ...at, error: e.message }));
    s.on('close', () => { tell({ id: end.id, ...at, error: 'closed' }); done(); });
  });
}

async function main() {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  if (process.argv[2] === 'server') {
    const ends = JSON.parse((await lines.next()).value);
    say({ listening: await Promise.all(ends.map(listen)) });
    await lines.next();
    process.exit(0);
  }
  say({ ready: true });
  for (let l = await lines.next(); !l.done; l = await lines.next()) {
    await Promise.all(JSON.parse(l.value).map(dial));
    say({ done: true });
  }
}
main();
