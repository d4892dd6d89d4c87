"""Makes TLS connections with itself over loopback and tells, as lines of JSON, what each end knows of them.

handshakes.py HOW FOLDER COUNT VERSION: HOW is blocking, nonblocking, memory, resumed, again or dies; VERSION is 1.2 or 1.3."""
import hashlib, json, os, select, socket, ssl, sys, threading

how, folder, count, version = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
lock = threading.Lock()


def context(side, name):
    c = ssl.SSLContext(side)
    c.minimum_version = c.maximum_version = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
    c.load_verify_locations(os.path.join(folder, "authority.pem"))
    c.load_cert_chain(os.path.join(folder, name + ".pem"))
    c.verify_mode = ssl.CERT_REQUIRED
    c.set_alpn_protocols(["one", "two"])
    return c


def choose(sock, name, _):
    if how == "dies":
        os._exit(0)
    sock.context = servers[int(name.split(".")[0].split("-")[1])]


servers = [context(ssl.PROTOCOL_TLS_SERVER, "server-%d" % i) for i in range(count)]
first = servers[0]
if how != "resumed":
    first = context(ssl.PROTOCOL_TLS_SERVER, "server-0")
    first.sni_callback = choose
clients = [context(ssl.PROTOCOL_TLS_CLIENT, "client-%d" % i) for i in range(count)]


def tell(role, ends, tls, index=-1):
    c = tls.getpeercert(binary_form=True)
    with lock:
        print(json.dumps({"role": role, "local": ends[0], "remote": ends[1], "peer": hashlib.sha256(c).hexdigest() if c else "",
                          "own": index, "alpn": tls.selected_alpn_protocol(), "resumed": tls.session_reused if hasattr(tls, "session_reused") else False}), flush=True)


def through_memory(s, ctx, **more):
    """The handshake in memory; this thread carries the bytes afterwards, so that no socket is seen meanwhile."""
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ctx.wrap_bio(come, go, **more)
    while True:
        try:
            tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            done = False
        if go.pending:
            s.sendall(go.read())
        if done:
            return tls
        b = s.recv(16384)
        if not b:
            raise EOFError
        come.write(b)


def wrap(s, ctx, **more):
    if how == "memory":
        return through_memory(s, ctx, **more)
    if how != "nonblocking":
        return ctx.wrap_socket(s, **more)
    s.setblocking(False)
    tls = ctx.wrap_socket(s, do_handshake_on_connect=False, **more)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            select.select([tls], [], [])
        except ssl.SSLWantWriteError:
            select.select([], [tls], [])
    tls.setblocking(True)
    return tls


def ports(s):
    return s.getsockname()[1], s.getpeername()[1]


def serve(s):
    ends = ports(s)
    tls = wrap(s, first, server_side=True)
    tell("server", ends, tls)
    if how == "memory":
        s.shutdown(socket.SHUT_WR)
        while s.recv(16384):
            pass
        s.close()
        return
    tls.sendall(b"x")
    tls.recv(1)
    tls.close()


def call(i, session=None):
    more = {"session": session} if session else {}
    s = socket.create_connection(listener.getsockname())
    ends = ports(s)
    tls = wrap(s, clients[i], server_hostname="server-%d.test" % (0 if how == "resumed" else i), **more)
    tell("client", ends, tls, i)
    if how == "memory":
        s.shutdown(socket.SHUT_WR)
        while s.recv(16384):
            pass
        s.close()
        return None
    tls.recv(1)
    tls.sendall(b"x")
    session = tls.session
    tls.close()
    return session


def accept(n):
    threads = []
    for _ in range(n):
        t = threading.Thread(target=serve, args=(listener.accept()[0],))
        t.start()
        threads.append(t)
    for t in threads:
        t.join()


listener = socket.create_server(("127.0.0.1", 0), backlog=count + 8)
if how == "resumed":
    a = threading.Thread(target=accept, args=(2 * count,))
    a.start()
    for i in range(count):
        call(i, call(i))
elif how == "again":  # one after another, so that addresses are given again
    a = threading.Thread(target=accept, args=(count,))
    a.start()
    for i in range(count):
        call(i)
else:
    a = threading.Thread(target=accept, args=(count,))
    a.start()
    threads = [threading.Thread(target=call, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
a.join()
