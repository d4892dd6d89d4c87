# A client or a server of Python's asyncio: all connections in one thread, over memory BIOs. Package tlsstacks says how it is spoken to.
import asyncio, json, ssl, sys
import tls


def know(end, w, resumed):
    s = w.get_extra_info("ssl_object")
    return tls.know(end, s, w.get_extra_info("sockname"), w.get_extra_info("peername"), resumed)


async def answer(end, r, w):
    try:
        w.get_extra_info("ssl_object").selected_alpn_protocol()  # as who speaks HTTP asks
        await r.read(4096)
        tls.say(know(end, w, bool(w.get_extra_info("ssl_object").session_reused)))
        w.write(tls.ANSWER)
        await w.drain()
    except OSError as e:
        tls.say({"id": end["id"], "error": str(e)})
    finally:
        w.close()


async def dial(end):
    try:
        host, port = end["address"].split(":")
        r, w = await asyncio.open_connection(host, int(port), ssl=tls.context(end, False), server_hostname=end["sni"] or "")
        w.get_extra_info("ssl_object").selected_alpn_protocol()  # as who speaks HTTP asks
        w.write(tls.request(end))
        await w.drain()
        await r.read()
        tls.say(know(end, w, False))
        w.close()
    except OSError as e:
        tls.say({"id": end["id"], "error": str(e)})


async def lines():
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def main():
    plan = await lines()
    if sys.argv[1] == "server":
        addresses = []
        for end in json.loads(await plan.readline()):
            s = await asyncio.start_server(lambda r, w, end=end: answer(end, r, w), "127.0.0.1", 0, ssl=tls.context(end, True), backlog=256)
            addresses.append(tls.text(s.sockets[0].getsockname()))
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # refused handshakes, which the other end tells of
        tls.say({"listening": addresses})
        await plan.read()
        return
    tls.say({"ready": True})
    while line := await plan.readline():
        await asyncio.gather(*[dial(end) for end in json.loads(line)])
        tls.say({"done": True})


asyncio.run(main())
