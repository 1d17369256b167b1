package tun

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

func vnet(flags, gso byte, hdr, size, start, offset uint16) []byte {
	h := make([]byte, vnetLen)
	h[0], h[1] = flags, gso
	for i, v := range []uint16{hdr, size, start, offset} {
		binary.NativeEndian.PutUint16(h[2+2*i:], v)
	}
	return h
}

func TestDecode(t *testing.T) {
	f4, f6, u4 := newFlow(false, false), newFlow(true, false), newFlow(false, true)
	tcp4, tcp6, udp := f4.next(fill(3000, 1)), f6.next(fill(3000, 1)), u4.next(fill(3000, 1))
	short := append([]byte(nil), tcp4...)
	short[20+12] = 0x40
	long := append([]byte(nil), tcp4[:60]...)
	long[20+12] = 0xf0
	for name, c := range map[string]struct {
		h, b []byte
		ok   bool
		want wire.Offload
	}{
		"plain":      {vnet(0, 0, 0, 0, 0, 0), tcp4, true, wire.Offload{}},
		"verified":   {vnet(2, 0, 0, 0, 0, 0), tcp4, true, wire.Offload{}},
		"checksum":   {vnet(1, 0, 0, 0, 20, 16), tcp4, true, wire.Offload{NeedsCsum: true, CsumStart: 20, CsumOffset: 16}},
		"tcp4":       {vnet(1, 1, 9, 1000, 20, 16), tcp4, true, wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, Size: 1000, HdrLen: 52, CsumStart: 20, CsumOffset: 16}},
		"tcp4 ECN":   {vnet(1, 0x81, 52, 1000, 20, 16), tcp4, true, wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, Size: 1000, HdrLen: 52, CsumStart: 20, CsumOffset: 16}},
		"tcp6":       {vnet(1, 4, 0, 1000, 40, 16), tcp6, true, wire.Offload{GSO: wire.GSOTCP6, NeedsCsum: true, Size: 1000, HdrLen: 72, CsumStart: 40, CsumOffset: 16}},
		"udp":        {vnet(1, 5, 0, 1000, 20, 6), udp, true, wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}},
		"one":        {vnet(1, 1, 52, 3000, 20, 16), tcp4, true, wire.Offload{NeedsCsum: true, CsumStart: 20, CsumOffset: 16}},
		"one of two": {vnet(1, 1, 52, 2999, 20, 16), tcp4, true, wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, Size: 2999, HdrLen: 52, CsumStart: 20, CsumOffset: 16}},

		"checksum at the end":   {vnet(1, 0, 0, 0, 20, 6), udp[:28], true, wire.Offload{NeedsCsum: true, CsumStart: 20, CsumOffset: 6}},
		"checksum outside":      {vnet(1, 0, 0, 0, 20, 7), udp[:28], false, wire.Offload{}},
		"checksum far outside":  {vnet(1, 0, 0, 0, 65535, 65535), udp, false, wire.Offload{}},
		"checksum in IP header": {vnet(1, 0, 0, 0, 0, 10), udp, false, wire.Offload{}},
		"GSO without checksum":  {vnet(0, 1, 52, 1000, 20, 16), tcp4, false, wire.Offload{}},
		"no size":               {vnet(1, 1, 52, 0, 20, 16), tcp4, false, wire.Offload{}},
		"wrong version":         {vnet(1, 4, 52, 1000, 20, 16), tcp4, false, wire.Offload{}},
		"wrong checksum field":  {vnet(1, 1, 52, 1000, 20, 6), tcp4, false, wire.Offload{}},
		"wrong UDP field":       {vnet(1, 5, 52, 1000, 20, 16), tcp4, false, wire.Offload{}},
		"short TCP header":      {vnet(1, 1, 52, 1000, 20, 16), short, false, wire.Offload{}},
		"TCP header outside":    {vnet(1, 1, 52, 1000, 20, 16), long, false, wire.Offload{}},
		"in the IPv4 header":    {vnet(1, 1, 52, 1000, 24, 16), tcp4, false, wire.Offload{}},
		"in the IPv6 header":    {vnet(1, 4, 72, 1000, 39, 16), tcp6, false, wire.Offload{}},
		"UDP over nothing":      {vnet(1, 5, 28, 1000, 20, 6), make([]byte, 2000), false, wire.Offload{}},
		"UFO":                   {vnet(1, 3, 52, 1000, 20, 6), udp, false, wire.Offload{}},
		"unknown":               {vnet(1, 0x42, 52, 1000, 20, 16), tcp4, false, wire.Offload{}},
		"empty":                 {vnet(1, 1, 52, 1000, 20, 16), nil, false, wire.Offload{}},
	} {
		var o wire.Offload
		ok := decode(c.h, c.b, &o)
		if ok != c.ok || ok && o != c.want {
			t.Errorf("%s: %v %+v, want %v %+v", name, ok, o, c.ok, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	flow := newFlow(false, false)
	f.Add(vnet(1, 1, 52, 100, 20, 16), flow.next(fill(300, 1)))
	flow = newFlow(true, true)
	f.Add(vnet(1, 5, 52, 100, 40, 6), flow.next(fill(300, 1)))
	f.Fuzz(func(t *testing.T, h, b []byte) {
		if len(h) < vnetLen {
			return
		}
		var o wire.Offload
		if !decode(h, b, &o) {
			return
		}
		if o.NeedsCsum && int(o.CsumStart)+int(o.CsumOffset)+2 > len(b) {
			t.Fatalf("checksum outside of %d bytes: %+v", len(b), o)
		}
		if o.GSO == wire.GSONone {
			return
		}
		if !o.NeedsCsum || o.Size == 0 || int(o.HdrLen)+int(o.Size) >= len(b) || o.HdrLen <= o.CsumStart {
			t.Fatalf("no super-packet of %d bytes: %+v", len(b), o)
		}
		// What goes back to the kernel says the same.
		again := make([]byte, vnetLen)
		encode(again, b, &o)
		again[1] &^= unix.VIRTIO_NET_HDR_GSO_ECN
		var second wire.Offload
		if !decode(again, b, &second) || second != o {
			t.Fatalf("%+v became %+v", o, second)
		}
		// It can be cut to its end.
		var s wire.Segmenter
		slot := bytes.Clone(b)
		if !s.Reset(slot, 0, len(slot), &o) {
			return
		}
		for off, n := s.Next(); n > 0; off, n = s.Next() {
			if off+n > len(slot) {
				t.Fatal("segment outside")
			}
		}
	})
}

func TestCommitJudges(t *testing.T) {
	r := &reader{user: &user{dev: &Device{vnetLen: vnetLen}}}
	b := packet.NewBatch(arena)
	front := make([]byte, lead-vnetLen)
	data := udp4(t, 1, 100)
	for _, c := range []struct {
		h, b []byte
		want packet.Reason
	}{
		{vnet(0, 0, 0, 0, 0, 0), data, packet.None},
		{vnet(1, 0, 0, 0, 20, 6), data, packet.None},
		{vnet(1, 0, 0, 0, 200, 6), data, packet.BadOffload},
		{vnet(0, 0, 0, 0, 0, 0), nil, packet.Malformed},
		{nil, nil, packet.Malformed},
	} {
		b.Reset()
		n := copy(b.Space(1), slices.Concat(front, c.h, c.b))
		r.commit(b, b.Space(1)[:n])
		p := &b.Packets()[0]
		if p.Drop != c.want || !bytes.Equal(p.Bytes(), c.b) || p.Offload.NeedsCsum != (c.want == packet.None && c.h[0] == 1) {
			t.Errorf("% x and %d bytes: %v, % x", c.h, len(c.b), p.Drop, p.Bytes())
		}
	}
}

func TestEncodeMarksCWR(t *testing.T) {
	flow := newFlow(false, false)
	flow.flags |= tcpCWR
	o := wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, Size: 100, HdrLen: 52, CsumStart: 20, CsumOffset: 16}
	h := make([]byte, vnetLen)
	encode(h, flow.next(fill(300, 1)), &o)
	if want := vnet(1, 0x81, 52, 100, 20, 16); !bytes.Equal(h, want) {
		t.Errorf("% x, want % x", h, want)
	}
}
