package uapi

import (
	"encoding/hex"
	"net/netip"
	"strconv"
)

// append prints the state as "get" answers, without errno.
func (s *State) append(b []byte) []byte {
	if !s.PrivateKey.IsZero() {
		b = line(b, "private_key", hex.EncodeToString(s.PrivateKey[:]))
	}
	if s.ListenPort != 0 {
		b = decimal(b, "listen_port", uint64(s.ListenPort))
	}
	if s.FwMark != 0 {
		b = decimal(b, "fwmark", uint64(s.FwMark))
	}
	for i := range s.Peers {
		b = s.Peers[i].append(b)
	}
	return b
}

func (p *PeerState) append(b []byte) []byte {
	b = line(b, "public_key", hex.EncodeToString(p.PublicKey[:]))
	b = line(b, "preshared_key", hex.EncodeToString(p.PresharedKey[:]))
	b = decimal(b, "protocol_version", 1)
	if p.Endpoint.IsValid() {
		b = line(b, "endpoint", netip.AddrPortFrom(p.Endpoint.Addr().Unmap(), p.Endpoint.Port()).String())
	}
	var seconds, nanos uint64
	if !p.LastHandshake.IsZero() && p.LastHandshake.Unix() > 0 {
		seconds, nanos = uint64(p.LastHandshake.Unix()), uint64(p.LastHandshake.Nanosecond())
	}
	b = decimal(b, "last_handshake_time_sec", seconds)
	b = decimal(b, "last_handshake_time_nsec", nanos)
	b = decimal(b, "tx_bytes", p.TxBytes)
	b = decimal(b, "rx_bytes", p.RxBytes)
	b = decimal(b, "persistent_keepalive_interval", uint64(p.PersistentKeepalive))
	for _, prefix := range p.AllowedIPs {
		b = line(b, "allowed_ip", prefix.String())
	}
	return b
}

func line(b []byte, key, value string) []byte {
	b = append(append(b, key...), '=')
	return append(append(b, value...), '\n')
}

func decimal(b []byte, key string, n uint64) []byte {
	b = append(append(b, key...), '=')
	return append(strconv.AppendUint(b, n, 10), '\n')
}
