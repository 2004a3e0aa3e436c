#!/usr/bin/python3
"""A mail program: hands the message on stdin to an SMTP server, as Python's smtplib does it.

    submit.py HOST PORT FROM TO...
"""
import smtplib
import sys

host, port, sender, *recipients = sys.argv[1:]
with smtplib.SMTP(host, int(port), local_hostname="travellers-laptop", timeout=20) as client:
    refused = client.sendmail(sender, recipients, sys.stdin.buffer.read().replace(b"\n", b"\r\n"))
sys.exit(f"refused: {refused}" if refused else 0)
