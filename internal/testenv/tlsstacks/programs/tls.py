# A client or a server of Python's ssl, with a thread for each connection, that says what it knows of it. Package tlsstacks says how it is spoken to.
import hashlib, json, socket, ssl, sys, threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
lock = threading.Lock()


def say(what):
    with lock:
        print(json.dumps(what), flush=True)


def context(end, server):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    c.minimum_version = c.maximum_version = VERSIONS[end["version"]]
    if end["cert"]:
        c.load_cert_chain(end["cert"], end["key"])
    if end["ca"]:
        c.load_verify_locations(end["ca"])
        c.verify_mode = ssl.CERT_REQUIRED
    if not server and end["insecure"]:
        c.check_hostname = False
        c.verify_mode = ssl.CERT_NONE
    if end["alpn"]:
        c.set_alpn_protocols(end["alpn"].split(","))
    if server:
        c.sni_callback = note
    return c


def note(s, name, _):
    s.asked = name


def text(address):
    return "%s:%d" % address[:2]


def fingerprint(der):
    return hashlib.sha256(der).hexdigest() if der else ""


def own(end):
    if not end["cert"]:
        return ""
    with open(end["cert"]) as f:
        leaf = f.read().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
    return fingerprint(ssl.PEM_cert_to_DER_cert(leaf))


def know(end, s, local, remote, resumed):
    return {
        "id": end["id"], "local": text(local), "remote": text(remote), "version": s.version().removeprefix("TLSv"),
        "sni": getattr(s, "asked", None) or s.server_hostname or "", "alpn": s.selected_alpn_protocol() or "",
        "resumed": resumed, "own": own(end), "peer": fingerprint(s.getpeercert(binary_form=True)),
    }


def request(end):
    return b"GET / HTTP/1.1\r\nHost: " + end["sni"].encode() + b"\r\nConnection: close\r\n\r\n"


def answer(end, ctx, c, remote):
    c.settimeout(30)
    local = c.getsockname()
    try:
        s = ctx.wrap_socket(c, server_side=True, suppress_ragged_eofs=True)
        s.selected_alpn_protocol()  # as who speaks HTTP asks
        s.recv(4096)
        s.sendall(ANSWER)
        say(know(end, s, local, remote, bool(s.session_reused)))
        s.close()
    except OSError as e:
        say({"id": end["id"], "local": text(local), "remote": text(remote), "error": str(e)})
        c.close()


def listen(end):
    l = socket.create_server(("127.0.0.1", 0), backlog=256)
    ctx = context(end, True)

    def accept():
        while True:
            c, remote = l.accept()
            threading.Thread(target=answer, args=(end, ctx, c, remote), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return text(l.getsockname())


def dial(end, ctx, sessions):
    local = remote = ("", 0)
    try:
        host, port = end["address"].split(":")
        c = socket.create_connection((host, int(port)), timeout=30)
        local, remote = c.getsockname(), c.getpeername()
        s = ctx.wrap_socket(c, server_hostname=end["sni"] or None, session=sessions.get(end["session"]))
        s.selected_alpn_protocol()  # as who speaks HTTP asks
        s.sendall(request(end))
        while s.recv(4096):
            pass
        if end["session"]:
            sessions[end["session"]] = s.session
        say(know(end, s, local, remote, bool(s.session_reused)))
        s.close()
    except OSError as e:
        say({"id": end["id"], "local": text(local), "remote": text(remote), "error": str(e)})


def main():
    if sys.argv[1] == "server":
        say({"listening": [listen(end) for end in json.loads(sys.stdin.readline())]})
        sys.stdin.read()
        return
    say({"ready": True})
    contexts, sessions = {}, {}
    for line in sys.stdin:
        threads = []
        for end in json.loads(line):
            ctx = contexts.get(end["session"]) if end["session"] else None
            if ctx is None:
                ctx = context(end, False)
                if end["session"]:
                    contexts[end["session"]] = ctx
            threads.append(threading.Thread(target=dial, args=(end, ctx, sessions)))
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        say({"done": True})


if __name__ == "__main__":
    main()
