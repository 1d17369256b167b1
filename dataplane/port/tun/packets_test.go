package tun

import (
	"encoding/binary"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// flow makes the packets of one TCP or UDP flow, with a slow checksum of its own.
type flow struct {
	six, udp     bool
	id           uint16
	df           bool
	tos, ttl     byte
	label        uint32
	sport, dport uint16
	seq, ack     uint32
	window       uint16
	flags        byte
	options      []byte
}

func newFlow(six, udp bool) flow {
	f := flow{six: six, udp: udp, id: 0xfff0, df: true, tos: 0x28, ttl: 61, label: 0x12345, sport: 40000, dport: 5001,
		seq: 0xffffff00, ack: 77, window: 512, flags: tcpACK}
	if !udp {
		f.options = []byte{1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4}
	}
	return f
}

// next makes a packet with that payload and moves sequence number and identification on.
func (f *flow) next(payload []byte) []byte {
	l4 := f.transport(payload)
	f.seq += uint32(len(payload))
	f.id++
	if f.six {
		b := make([]byte, 40, 40+len(l4))
		binary.BigEndian.PutUint32(b, 6<<28|uint32(f.tos)<<20|f.label)
		binary.BigEndian.PutUint16(b[4:], uint16(len(l4)))
		b[6], b[7] = l4[0], f.ttl
		copy(b[8:], []byte{0xfd, 9, 15: 1})
		copy(b[24:], []byte{0xfd, 9, 15: 2})
		return finish(append(b, l4[1:]...)[:40+len(l4)-1])
	}
	b := make([]byte, 20, 20+len(l4))
	b[0], b[1], b[8], b[9] = 0x45, f.tos, f.ttl, l4[0]
	binary.BigEndian.PutUint16(b[4:], f.id-1)
	if f.df {
		b[6] = 0x40
	}
	copy(b[12:], []byte{10, 9, 0, 1, 10, 9, 0, 2})
	return finish(append(b, l4[1:]...))
}

// transport returns the protocol number and then the transport header and payload, without checksum.
func (f *flow) transport(payload []byte) []byte {
	h := make([]byte, 1+8)
	h[0] = wire.ProtoUDP
	if !f.udp {
		h = make([]byte, 1+20, 100)
		h[0] = wire.ProtoTCP
		t := h[1:]
		binary.BigEndian.PutUint32(t[4:], f.seq)
		binary.BigEndian.PutUint32(t[8:], f.ack)
		t[12], t[13] = byte(20+len(f.options))/4<<4, f.flags
		binary.BigEndian.PutUint16(t[14:], f.window)
		h = append(h, f.options...)
	}
	binary.BigEndian.PutUint16(h[1:], f.sport)
	binary.BigEndian.PutUint16(h[3:], f.dport)
	return append(h, payload...)
}

// finish sets lengths and checksums of a TCP or UDP packet without extension headers.
func finish(b []byte) []byte {
	l4, proto := 40, b[6]
	if b[0]>>4 == 4 {
		l4, proto = int(b[0]&15)*4, b[9]
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		finishIPv4(b)
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	}
	t := b[l4:]
	at := 16
	if proto == wire.ProtoUDP {
		at = 6
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	}
	t[at], t[at+1] = 0, 0
	c := ^slowSum(pseudo(b, proto, len(t)), t)
	if c == 0 && proto == wire.ProtoUDP {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(t[at:], c)
	return b
}

func finishIPv4(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^slowSum(b[:int(b[0]&15)*4]))
}

func pseudo(b []byte, proto byte, n int) []byte {
	tail := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, 0, proto}
	if b[0]>>4 == 4 {
		return append(append([]byte(nil), b[12:20]...), tail...)
	}
	return append(append([]byte(nil), b[8:40]...), tail...)
}

// slowSum is the sum of RFC 1071 over pieces, all of even length but the last, not complemented.
func slowSum(pieces ...[]byte) uint16 {
	var sum uint32
	for _, b := range pieces {
		for i, c := range b {
			if i%2 == 0 {
				sum += uint32(c) << 8
			} else {
				sum += uint32(c)
			}
			sum = sum>>16 + sum&0xffff
		}
	}
	return uint16(sum>>16 + sum&0xffff)
}

// udp4 is an IPv4 UDP packet from 10.9.0.1 to 10.9.0.2 with n bytes of payload.
func udp4(t testing.TB, id uint16, n int) []byte {
	f := newFlow(false, true)
	f.id = id
	return f.next(fill(n, byte(id)))
}

func fill(n int, with byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = with + byte(i*7)
	}
	return b
}

// batchOf returns packets as a worker would hand them to a writer.
func batchOf(t testing.TB, data ...[]byte) []packet.Packet {
	t.Helper()
	b := packet.NewBatch(1 << 20)
	for _, d := range data {
		space := b.Space(len(d))
		if space == nil {
			t.Fatal("too much for a batch")
		}
		b.Commit(0, copy(space, d))
	}
	return b.Packets()
}
