#!/usr/bin/python3
"""The recipient's mail server: aiosmtpd, not ours. Takes everything and keeps it.

    destination.py --folder FOLDER [--address A] [--port N]

Says "ready" on stdout when it listens, then for each message a line of JSON: {"from", "to", "peer", "file"}; the file holds the
message octet for octet.
"""
import argparse
import asyncio
import json
import os

from aiosmtpd.smtp import SMTP


class Keeper:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    async def handle_DATA(self, _server, session, envelope):
        self.count += 1
        path = os.path.join(self.folder, f"{self.count}.eml")
        with open(path, "wb") as file:
            file.write(envelope.original_content)
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "peer": session.peer[0], "file": path}), flush=True)
        return "250 2.0.0 Thank you"


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--address", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=25)
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    keeper = Keeper(options.folder)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(keeper, hostname="mx.destination.example", enable_SMTPUTF8=True, data_size_limit=100 << 20),
        host=options.address, port=options.port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
