"""A server that is api.honeycomb.io to whom it is named so, and knows no key: 401 to /1/auth, UNAUTHENTICATED to gRPC."""
import socket
import ssl
import struct
import threading

from e2e import run

SAID = "unknown API key - check your credentials"
HEADERS, SETTINGS, PING, ACKNOWLEDGED, END_STREAM, END_HEADERS = 1, 4, 6, 1, 1, 4


class Refusing:
    def __init__(self, folder, address):
        self.authority = f"{folder}/refusing-ca.crt"
        self.certificates(folder)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(f"{folder}/refusing.crt", f"{folder}/refusing.key")
        # Who speaks both asks about the key; gRPC speaks h2 alone.
        self.context.set_alpn_protocols(["http/1.1", "h2"])
        self.asked = {"auth": 0, "export": 0}
        self.socket = socket.create_server((address, 443))
        threading.Thread(target=self.accept, daemon=True).start()

    def certificates(self, folder):
        key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        run("bash", "-euc", f"""cd {folder}
openssl req {key} -x509 -keyout refusing-ca.key -out refusing-ca.crt -days 2 -subj /CN=authority
openssl req {key} -keyout refusing.key -out refusing.csr -subj /CN=api.honeycomb.io
openssl x509 -req -in refusing.csr -CA refusing-ca.crt -CAkey refusing-ca.key -CAcreateserial -days 2 -out refusing.crt \
  -extfile <(printf 'subjectAltName=DNS:api.honeycomb.io\\nextendedKeyUsage=serverAuth')""")

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        try:
            with self.context.wrap_socket(connection, server_side=True) as secure, secure.makefile("rb") as reader:
                (self.answer_grpc if secure.selected_alpn_protocol() == "h2" else self.answer_http)(secure, reader)
        except OSError:
            pass

    def answer_http(self, secure, reader):
        while request := reader.readline():
            while reader.readline() not in (b"\r\n", b""):
                pass
            self.asked["auth"] += b" /1/auth " in request
            body = f'{{"error":"{SAID}"}}'.encode()
            secure.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def answer_grpc(self, secure, reader):
        """Requests are not read: whatever it is, the answer is the same (RFC 9113, section 4.1)."""
        def send(kind, flags, stream, payload=b""):
            secure.sendall(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

        def literal(name, value):
            return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

        # \x88 is :status 200.
        refusal = b"\x88" + literal("content-type", "application/grpc") + literal("grpc-status", "16") + \
            literal("grpc-message", SAID)
        reader.read(24)
        send(SETTINGS, 0, 0)
        while head := reader.read(9):
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream, payload = int.from_bytes(head[5:], "big") & 0x7FFFFFFF, reader.read(length)
            if kind in (SETTINGS, PING) and not flags & ACKNOWLEDGED:
                send(kind, ACKNOWLEDGED, 0, payload if kind == PING else b"")
            elif kind <= HEADERS and flags & END_STREAM:
                self.asked["export"] += 1
                send(HEADERS, END_STREAM | END_HEADERS, stream, refusal)

    def stop(self):
        self.socket.close()
