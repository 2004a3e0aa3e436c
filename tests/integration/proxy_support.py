"""Proxies that are not ours, each a process on 127.0.0.1: tinyproxy (HTTP CONNECT) and microsocks (SOCKS5)."""
import socket
import subprocess
import threading

from daemon import free_port, wait_for


class Proxy:
    """Proxy("tinyproxy", "a file for its configuration", "BasicAuth anna secret", ...) or Proxy("microsocks", None, "-u", "anna", ...); `address` is where it listens."""

    def __init__(self, program, conf, *options):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        if program == "tinyproxy":
            with open(conf, "w", encoding="utf-8") as file:
                file.write("\n".join([f"Port {self.port}", "Listen 127.0.0.1", "Timeout 30", "MaxClients 20", *options, ""]))
            command = [program, "-d", "-c", str(conf)]
        else:
            command = [program, "-i", "127.0.0.1", "-p", str(self.port), *options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()
        wait_for(self.is_listening, lambda: f"{program} to listen: {self.lines}")

    def is_listening(self):
        assert self.process.poll() is None, self.lines
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.reader.join()
