"""Seals and opens ESP packets with scapy, as it is told by lines of JSON, and answers each with a line of JSON.

Scapy does not put the upper half of an extended sequence number under an HMAC (RFC 4303 section 2.2.1). That is done here,
with scapy's algorithms.
"""

import json
import struct
import sys

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AUTH_ALGOS, ESP, IPSecIntegrityError, SecurityAssociation
from scapy.packet import raw


def association(q, auth):
    return SecurityAssociation(
        ESP, spi=q["spi"], seq_num=q["seq"] & 0xffffffff, crypt_algo=q["crypt"], crypt_key=bytes.fromhex(q["crypt_key"]),
        auth_algo=q["auth"] if auth else None, auth_key=bytes.fromhex(q["auth_key"]) if auth else None,
        tunnel_header=IP(src="192.0.2.1", dst="192.0.2.2"), esn_en=q["esn"], esn=q["seq"] >> 32)


def mac(q, packet):
    algo = AUTH_ALGOS[q["auth"]]
    m = algo.new_mac(bytes.fromhex(q["auth_key"]))
    m.update(packet + struct.pack("!L", q["seq"] >> 32))
    return m.finalize()[:algo.icv_size]


def seal(q, packet):
    sa = association(q, not q["esn"])
    inner = (IP if packet[0] >> 4 == 4 else IPv6)(packet)
    esp = raw(sa.encrypt(inner)[ESP])
    if q["auth"] and q["esn"]:
        esp += mac(q, esp)
    return esp


def open_(q, packet):
    if q["auth"] and q["esn"]:
        size = AUTH_ALGOS[q["auth"]].icv_size
        packet, icv = packet[:-size], packet[-size:]
        if icv != mac(q, packet):
            raise IPSecIntegrityError("wrong ICV")
    sa = association(q, not q["esn"])
    outer = IP(src="192.0.2.1", dst="192.0.2.2", proto=50) / ESP(packet)
    return raw(sa.decrypt(IP(raw(outer))))


for line in sys.stdin:
    q = json.loads(line)
    try:
        done = {"seal": seal, "open": open_}[q["do"]](q, bytes.fromhex(q["packet"]))
        print(json.dumps({"packet": done.hex()}))
    except Exception as e:
        print(json.dumps({"error": "%s: %s" % (type(e).__name__, e)}))
