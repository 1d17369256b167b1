package tun

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/race"
)

// written is what a writer with all offloads hands to the kernel for the packets: virtio header and packet each.
func written(j *joiner, pkts []packet.Packet) (out [][]byte) {
	for n := 0; len(pkts) > 0; pkts = pkts[n:] {
		n = 1
		p := &pkts[0]
		if p.Drop != packet.None {
			continue
		}
		if !p.Offload.NeedsCsum {
			n = j.join(pkts)
		}
		var b []byte
		if n == 1 {
			b = make([]byte, vnetLen)
			encode(b, p.Bytes(), &p.Offload)
			b = append(b, p.Bytes()...)
		} else {
			for _, v := range j.iov[:1+n] {
				b = append(b, unsafe.Slice(v.Base, v.Len)...)
			}
		}
		out = append(out, b)
	}
	return out
}

// resegment is the kernel's view: the packets that a super-packet stands for, slowly.
func resegment(b []byte) (out [][]byte, err error) {
	field := func(at int) int { return int(binary.NativeEndian.Uint16(b[at:])) }
	h, pkt := b[:vnetLen], b[vnetLen:]
	if h[1] == unix.VIRTIO_NET_HDR_GSO_NONE {
		return [][]byte{pkt}, nil
	}
	hdr, size, start, at := field(2), field(4), field(6), field(6)+field(8)
	six, udp := pkt[0]>>4 == 6, h[1] == unix.VIRTIO_NET_HDR_GSO_UDP_L4
	want, proto, l4 := 1, byte(wire.ProtoTCP), 20
	if six {
		want, l4 = 4, 40
	}
	if udp {
		want, proto = 5, wire.ProtoUDP
	}
	length := int(binary.BigEndian.Uint16(pkt[2:]))
	if six {
		length = 40 + int(binary.BigEndian.Uint16(pkt[4:]))
	}
	switch {
	case h[0] != 1 || int(h[1]) != want || start != l4:
		return nil, fmt.Errorf("header % x", h)
	case udp && hdr != l4+8 || !udp && hdr != l4+int(pkt[l4+12]>>4)*4:
		return nil, fmt.Errorf("headers of %d bytes", hdr)
	case length != len(pkt) || udp && int(binary.BigEndian.Uint16(pkt[l4+4:])) != length-l4:
		return nil, fmt.Errorf("length %d, is %d", length, len(pkt))
	case !six && slowSum(pkt[:20]) != 0xffff:
		return nil, fmt.Errorf("IPv4 checksum")
	case binary.BigEndian.Uint16(pkt[at:]) != slowSum(pseudo(pkt, proto, length-l4)):
		return nil, fmt.Errorf("partial checksum %x", pkt[at:at+2])
	}
	head, payload := pkt[:hdr], pkt[hdr:]
	if udp && (len(payload)+size-1)/size > 64 {
		return nil, fmt.Errorf("%d bytes in datagrams of %d", len(payload), size)
	}
	for i := 0; len(payload) > 0; i++ {
		n := min(size, len(payload))
		s := append(bytes.Clone(head), payload[:n]...)
		payload = payload[n:]
		if !six {
			binary.BigEndian.PutUint16(s[4:], binary.BigEndian.Uint16(s[4:])+uint16(i))
		}
		if !udp {
			t := s[l4:]
			binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(i*size))
			if len(payload) > 0 {
				t[13] &^= tcpPSH | tcpFIN
			}
		}
		out = append(out, finish(s))
	}
	return out, nil
}

// atomic hides the identification of a packet that carries DF: it is not kept (RFC 6864 section 4.1).
func atomic4(b []byte) []byte {
	if len(b) < 20 || b[0]>>4 != 4 || b[6]&0x40 == 0 || slowSum(b[:20]) != 0xffff {
		return b
	}
	b = bytes.Clone(b)
	b[4], b[5] = 0, 0
	finishIPv4(b)
	return b
}

// checkWritten fails the test unless the kernel would see exactly the packets that were handed over. It returns how
// many writes there were.
func checkWritten(t *testing.T, j *joiner, pkts []packet.Packet) int {
	t.Helper()
	var want [][]byte
	for i := range pkts {
		if pkts[i].Drop == packet.None {
			want = append(want, bytes.Clone(pkts[i].Bytes()))
		}
	}
	var got [][]byte
	writes := written(j, pkts)
	for _, b := range writes {
		s, err := resegment(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s...)
	}
	if len(got) != len(want) {
		t.Fatalf("%d packets became %d", len(want), len(got))
	}
	for i := range got {
		if !bytes.Equal(atomic4(got[i]), atomic4(want[i])) {
			t.Fatalf("packet %d of %d\n  was % x\n  is  % x", i, len(want), want[i], got[i])
		}
	}
	return len(writes)
}

func families(t *testing.T, f func(t *testing.T, six, udp bool)) {
	for name, c := range map[string][2]bool{"tcp4": {}, "tcp6": {true, false}, "udp4": {false, true}, "udp6": {true, true}} {
		t.Run(name, func(t *testing.T) { f(t, c[0], c[1]) })
	}
}

func TestJoinsWhatBelongsTogether(t *testing.T) {
	families(t, func(t *testing.T, six, udp bool) {
		j := &joiner{udp: true}
		f := newFlow(six, udp)
		var data [][]byte
		for i := range 40 {
			data = append(data, f.next(fill(1400, byte(i))))
		}
		f.flags |= tcpPSH
		data = append(data, f.next(fill(333, 1)))
		if n := checkWritten(t, j, batchOf(t, data...)); n != 1 {
			t.Errorf("41 packets in %d writes", n)
		}
		// More than fits a super-packet.
		f = newFlow(six, udp)
		data = data[:0]
		for i := range 100 {
			data = append(data, f.next(fill(1400, byte(i))))
		}
		if n := checkWritten(t, j, batchOf(t, data...)); n != 3 {
			t.Errorf("100 packets of 1400 bytes in %d writes", n)
		}
		f.df = false
		data = data[:0]
		for i := range packet.MaxBatch {
			data = append(data, f.next(fill(10, byte(i))))
		}
		want := 1
		if udp {
			want = 2
		}
		if n := checkWritten(t, j, batchOf(t, data...)); n != want {
			t.Errorf("128 small packets without DF in %d writes", n)
		}
	})
}

func TestKeepsApartWhatDiffers(t *testing.T) {
	families(t, func(t *testing.T, six, udp bool) {
		j := &joiner{udp: true}
		for i, change := range changes {
			f := newFlow(six, udp)
			a := f.next(fill(100, 1))
			b := change.make(&f, 100)
			pkts := batchOf(t, a, b)
			if change.after != nil {
				change.after(&pkts[1])
			}
			want := 2
			if change.joins(six, udp) {
				want = 1
			}
			if pkts[1].Drop != packet.None {
				want = 1
			}
			if n := checkWritten(t, j, pkts); n != want {
				t.Errorf("change %d (%s): %d writes, want %d", i, change.name, n, want)
			}
		}
	})
	j := &joiner{}
	f := newFlow(false, true)
	if n := checkWritten(t, j, batchOf(t, f.next(fill(9, 1)), f.next(fill(9, 1)))); n != 2 {
		t.Errorf("datagrams joined for a kernel that cannot: %d writes", n)
	}
}

// TestKeepsStrangersApart: packets that nobody may join, however well the two would fit each other.
func TestKeepsStrangersApart(t *testing.T) {
	for name, c := range map[string]struct {
		six, udp bool
		spoil    func(b []byte, i uint32)
	}{
		"more fragments": {udp: true, spoil: func(b []byte, i uint32) { b[6] |= 0x20; finish(b) }},
		"later fragment": {udp: true, spoil: func(b []byte, i uint32) { b[7] |= 1; finish(b) }},
		"reserved bit":   {udp: true, spoil: func(b []byte, i uint32) { b[6] |= 0x80; finish(b) }},
		"short header":   {spoil: func(b []byte, i uint32) { b[20+12] = 0x40; moveSeq(b, 4*i); finish(b) }},
		"no header":      {spoil: func(b []byte, i uint32) { b[20+12] = 0; moveSeq(b, 20*i); finish(b) }},
		"long header":    {spoil: func(b []byte, i uint32) { b[20+12] = 0xf0; finish(b) }},
		"IPv4 length":    {spoil: func(b []byte, i uint32) { b[3]--; finishIPv4(b) }},
		"IPv6 length":    {six: true, spoil: func(b []byte, i uint32) { b[5]-- }},
		"UDP length": {udp: true, spoil: func(b []byte, i uint32) {
			b[25]--
			binary.BigEndian.PutUint16(b[26:], binary.BigEndian.Uint16(b[26:])+1)
		}},
		"other transport": {six: true, udp: true, spoil: func(b []byte, i uint32) { b[6] = wire.ProtoSCTP }},
	} {
		f := newFlow(c.six, c.udp)
		if !c.udp {
			f.options = nil
		}
		a, b := f.next(fill(30, 1)), f.next(fill(30, 1))
		c.spoil(a, 0)
		c.spoil(b, 1)
		if n := checkWritten(t, &joiner{udp: true}, batchOf(t, a, b)); n != 2 {
			t.Errorf("%s: %d writes", name, n)
		}
	}
}

func moveSeq(b []byte, by uint32) {
	binary.BigEndian.PutUint32(b[24:], binary.BigEndian.Uint32(b[24:])+by)
}

// TestMinusZero: a checksum that is right but not written as anybody computes it would not survive. In UDP, where all ones
// stand for zero, a zero says that there is none.
func TestMinusZero(t *testing.T) {
	for name, c := range map[string]struct {
		udp   bool
		at    int
		field uint16
	}{
		"TCP": {false, 36, 0xffff}, "UDP": {true, 26, 0}, "IPv4": {true, 10, 0xffff},
	} {
		f := newFlow(false, c.udp)
		data := [][]byte{f.next(fill(102, 0)), nil, nil}
		// Try identifications or payloads until the sum is zero.
		for i := 0; data[1] == nil; i++ {
			if i > 1<<16 {
				t.Fatalf("%s: no packet has the checksum zero", name)
			}
			g := f
			if c.at == 10 {
				g.id = uint16(i)
			}
			b := g.next(binary.BigEndian.AppendUint16(fill(100, 0), uint16(i)))
			if was := binary.BigEndian.Uint16(b[c.at:]); was == ^c.field {
				binary.BigEndian.PutUint16(b[c.at:], c.field)
				data[1], f = b, g
			}
		}
		data[2] = f.next(fill(102, 0))
		if n := checkWritten(t, &joiner{udp: true}, batchOf(t, data...)); n != 3 {
			t.Errorf("%s: %d writes", name, n)
		}
	}
}

func FuzzJoin(f *testing.F) {
	all := make([]byte, len(changes))
	for i := range all {
		all[i] = byte(i)
	}
	f.Add(uint64(1), []byte{0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 2, 0})
	f.Add(uint64(2), all)
	f.Fuzz(func(t *testing.T, seed uint64, ops []byte) { joinRandom(t, seed, ops) })
}

func joinRandom(t *testing.T, seed uint64, ops []byte) {
	rng := rand.New(rand.NewPCG(seed, 1))
	f := newFlow(seed&1 != 0, seed&2 != 0)
	f.df = seed&4 != 0
	size := []int{1, 64, 100, 1400}[seed>>3&3]
	b := packet.NewBatch(packet.MaxBatch * 2048)
	for _, op := range ops {
		c := &changes[int(op)%len(changes)]
		data := c.make(&f, size)
		f.flags = tcpACK
		if op >= 250 {
			data[rng.IntN(len(data))] ^= byte(1 << rng.IntN(8))
		}
		space := b.Space(len(data))
		if space == nil {
			break
		}
		p := b.Commit(0, copy(space, data))
		if c.after != nil {
			c.after(p)
		}
	}
	checkWritten(t, &joiner{udp: seed>>5&1 == 0}, b.Packets())
}

func TestJoinRandom(t *testing.T) {
	rounds := 4000
	if race.Enabled {
		rounds = 300
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ops := make([]byte, packet.MaxBatch)
	for range rounds {
		for i := range ops {
			if ops[i] = 0; rng.IntN(4) == 0 {
				ops[i] = byte(rng.Uint32())
			}
		}
		joinRandom(t, rng.Uint64(), ops[:1+rng.IntN(len(ops))])
	}
}

func BenchmarkJoin(b *testing.B) {
	for _, udp := range []bool{false, true} {
		for _, size := range []int{64, 1400} {
			b.Run(fmt.Sprintf("udp=%v/%d", udp, size), func(b *testing.B) {
				f := newFlow(false, udp)
				var data [][]byte
				for i := range 44 {
					data = append(data, f.next(fill(size, byte(i))))
				}
				bt := packet.NewBatch(1 << 20)
				for _, d := range data {
					bt.Commit(0, copy(bt.Space(len(d)), d))
				}
				j := &joiner{udp: true}
				b.SetBytes(int64(44 * len(data[0])))
				for b.Loop() {
					if j.join(bt.Packets()) != 44 {
						b.Fatal("not joined")
					}
				}
			})
		}
	}
}
