#!/usr/bin/python3
"""A mail program: hands messages to an SMTP server, as Python's smtplib does it.

    submit.py HOST PORT FROM TO...      the message on stdin
    submit.py --wait                    says "ready", then takes orders on stdin, each a line of JSON with host, port, from, to (a list), file; answered "done"
"""
import json
import smtplib
import sys


def submit(host, port, sender, recipients, octets):
    with smtplib.SMTP(host, int(port), local_hostname="travellers-laptop", timeout=20) as client:
        return client.sendmail(sender, recipients, octets.replace(b"\n", b"\r\n"))


def main():
    if sys.argv[1] != "--wait":
        host, port, sender, *recipients = sys.argv[1:]
        refused = submit(host, port, sender, recipients, sys.stdin.buffer.read())
        sys.exit(f"refused: {refused}" if refused else 0)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        with open(order["file"], "rb") as file:
            try:
                refused = submit(order["host"], order["port"], order["from"], order["to"], file.read())
                print(f"refused: {refused}" if refused else "done", flush=True)
            except (OSError, smtplib.SMTPException) as error:
                print(f"failed: {error}", flush=True)


if __name__ == "__main__":
    main()
