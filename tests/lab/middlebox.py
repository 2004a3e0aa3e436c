#!/usr/bin/python3
"""What sits in a network and meddles with mail. Connections are redirected to it; it writes down every octet that the laptop says.

    middlebox.py strip  --listen N --port N --heard FILE --relay ADDRESS...    takes STARTTLS out of the answer to EHLO
    middlebox.py mask   ...                                                    writes XXXXXXXA over it
    middlebox.py mitm   --listen N --port N --heard FILE --certificate PEM [--tls]   plays the relay under a certificate of its own
    middlebox.py banner --listen N --port N --heard FILE --banner TEXT         says TEXT, then nothing
    middlebox.py http   --listen N --port N --heard FILE                       a captive portal

Says "ready" on stdout when it listens.
"""
import argparse
import asyncio
import ssl

LOGIN_PAGE = (b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/\r\nContent-Type: text/html\r\nContent-Length: 17\r\n"
              b"Connection: close\r\n\r\n<p>Please log in.")
PORTAL_PATIENCE_S = 0.5     # then it closes on who says nothing, as web servers do


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=sorted(MODES))
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--heard", required=True)
    parser.add_argument("--relay", nargs="+", default=[])
    parser.add_argument("--certificate")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--banner", default="")
    return parser.parse_args()


class Box:
    def __init__(self, options):
        self.options = options
        self.heard = open(options.heard, "ab", buffering=0)

    async def read(self, reader):
        octets = await reader.read(65536)
        self.heard.write(octets)
        return octets

    async def read_line(self, reader):
        line = await reader.readline()
        self.heard.write(line)
        return line

    # -- strip, mask: the relay itself answers, and some of its words are changed

    async def strip(self, reader, writer):
        await self.between(reader, writer, remove_starttls)

    async def mask(self, reader, writer):
        await self.between(reader, writer, lambda reply: [line.replace(b"STARTTLS", b"XXXXXXXA") for line in reply])

    async def between(self, reader, writer, alter):
        upstream = self.options.relay[1 if ":" in writer.get_extra_info("peername")[0] else 0]
        from_relay, to_relay = await asyncio.open_connection(upstream, self.options.port)
        try:
            await first_done(self.outward(reader, to_relay), self.inward(from_relay, writer, alter))
        finally:
            to_relay.close()

    async def outward(self, reader, to_relay):
        while octets := await self.read(reader):
            to_relay.write(b"XXXXXXXX\r\n" if octets.strip().upper() == b"STARTTLS" else octets)
            await to_relay.drain()

    async def inward(self, from_relay, writer, alter):
        reply = []
        while line := await from_relay.readline():
            reply.append(line)
            if line[3:4] == b"-":
                continue
            writer.writelines(alter(reply))
            await writer.drain()
            reply = []

    # -- mitm

    async def mitm(self, reader, writer):
        """A plausible submission server that takes whatever it is given."""
        writer.write(b"220 relay.example ESMTP\r\n")
        has_tls = self.options.tls
        while line := await self.read_line(reader):
            word = line.split(b" ")[0].strip().upper()
            if word == b"STARTTLS" and not has_tls:
                writer.write(b"220 2.0.0 Go ahead\r\n")
                await writer.drain()
                await writer.start_tls(certificate_context(self.options.certificate))
                has_tls = True
            elif word == b"EHLO":
                more = b"AUTH PLAIN LOGIN" if has_tls else b"STARTTLS"
                writer.write(b"250-relay.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 " + more + b"\r\n")
            elif word == b"DATA":
                writer.write(b"354 Go on\r\n")
                while (line := await self.read_line(reader)) not in (b".\r\n", b""):
                    pass
                writer.write(b"250 2.0.0 Thank you\r\n")
            elif word == b"AUTH":
                writer.write(b"235 2.7.0 Welcome\r\n" if len(line.split()) > 2 else b"334 \r\n")
            elif word == b"QUIT":
                writer.write(b"221 2.0.0 Bye\r\n")
                return
            else:
                writer.write(b"250 2.0.0 OK\r\n")
            await writer.drain()

    # -- banner, http

    async def banner(self, reader, writer):
        writer.write(self.options.banner.encode("ascii") + b"\r\n")
        await writer.drain()
        while await self.read(reader):
            pass

    async def http(self, reader, writer):
        try:
            await asyncio.wait_for(self.read(reader), PORTAL_PATIENCE_S)
        except asyncio.TimeoutError:
            return
        writer.write(LOGIN_PAGE)
        await writer.drain()


MODES = {"strip", "mask", "mitm", "banner", "http"}


def remove_starttls(reply):
    kept = [line for line in reply if line[4:].strip().upper() != b"STARTTLS"]
    return [line[:3] + (b" " if line is kept[-1] else b"-") + line[4:] if len(line) > 4 else line for line in kept]


def certificate_context(path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def first_done(*tasks):
    """Until one of them ends, however it does."""
    done, rest = await asyncio.wait([asyncio.ensure_future(task) for task in tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*done, *rest, return_exceptions=True)


async def main():
    options = parse()
    box = Box(options)
    serve = getattr(box, options.mode)

    async def on_connection(reader, writer):
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError, ValueError):
            pass        # the laptop hung up, as it should on us
        finally:
            writer.close()

    tls = certificate_context(options.certificate) if options.tls else None
    server = await asyncio.start_server(on_connection, host=["0.0.0.0", "::"], port=options.listen, ssl=tls)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
