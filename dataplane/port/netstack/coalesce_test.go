package netstack

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// tcpPacket builds a TCP packet with a right checksum.
func tcpPacket(src, dst netip.Addr, seq uint32, flags byte, options int, payload []byte) []byte {
	hdr := wire.IPv4HeaderLen
	if src.Is6() {
		hdr = wire.IPv6HeaderLen
	}
	b := make([]byte, hdr+20+options+len(payload))
	t := b[hdr:]
	if src.Is6() {
		b[0], b[6], b[7] = 0x60, wire.ProtoTCP, 64
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
	} else {
		b[0], b[6], b[8], b[9] = 0x45, 0x40, 64, wire.ProtoTCP
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
	}
	setLength(b)
	binary.BigEndian.PutUint32(t, 1234<<16|80)
	binary.BigEndian.PutUint32(t[4:], seq)
	t[11], t[12], t[13], t[14] = 7, byte(5+options/4)<<4, flags, 1
	for i := range options {
		t[20+i] = 1 // no operation
	}
	copy(t[20+options:], payload)
	resum(b)
	return b
}

// resum computes the TCP checksum anew.
func resum(b []byte) {
	t := b[wire.IPv4HeaderLen:]
	if b[0]>>4 == 6 {
		t = b[wire.IPv6HeaderLen:]
	}
	t[16], t[17] = 0, 0
	binary.BigEndian.PutUint16(t[16:], wire.Checksum(t, wire.PseudoSum(b, wire.ProtoTCP, len(t))))
}

func packets(data ...[]byte) []packet.Packet {
	b := packet.NewBatch(1 << 20)
	for _, d := range data {
		b.Commit(0, copy(b.Space(len(d)), d))
	}
	return b.Packets()
}

// A train of segments of every size, odd ones too, must join to the packet that a sender with a larger MTU would have
// sent, with a right checksum; and with a wrong one as soon as a bit of any segment's payload is wrong.
func TestJoinedIsWhatOnePacketWouldBe(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 3))
	for round := range 300 {
		src, dst := a4, b4
		if r.IntN(2) == 1 {
			src, dst = a6, b6
		}
		size, n, options := 1+r.IntN(1400), 2+r.IntN(30), 4*r.IntN(4)
		last := 1 + r.IntN(size)
		payload := make([]byte, size*(n-1)+last)
		for i := range payload {
			payload[i] = byte(r.Uint32())
		}
		seq := r.Uint32()
		var data [][]byte
		for i := range n {
			flags, end := byte(tcpACK), min((i+1)*size, len(payload))
			if i == n-1 {
				flags |= tcpPSH
			}
			data = append(data, tcpPacket(src, dst, seq+uint32(i*size), flags, options, payload[i*size:end]))
		}
		want := tcpPacket(src, dst, seq, tcpACK|tcpPSH, options, payload)
		pkts := packets(data...)
		count, length := countRun(pkts)
		if count != n || length != len(want) {
			t.Fatalf("seed %d round %d: %d of %d segments, %d of %d bytes", seed, round, count, n, length, len(want))
		}
		got := make([]byte, length)
		joinRun(got, pkts)
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d round %d: joined packet differs", seed, round)
		}
		bad := pkts[r.IntN(n)].Bytes()
		bad[len(bad)-1-r.IntN(min(last, size))] ^= 1 << r.IntN(8)
		joinRun(got, pkts)
		wrong := binary.BigEndian.Uint16(got[len(got)-len(payload)-options-4:])
		resum(got)
		if wrong == binary.BigEndian.Uint16(got[len(got)-len(payload)-options-4:]) {
			t.Fatalf("seed %d round %d: a wrong bit was covered by a new checksum", seed, round)
		}
	}
}

func TestWhatIsNotJoined(t *testing.T) {
	body := make([]byte, 100)
	first := func() []byte { return tcpPacket(a4, b4, 1000, tcpACK, 12, body) }
	second := func(change func(b []byte)) []byte {
		b := tcpPacket(a4, b4, 1100, tcpACK, 12, body)
		change(b)
		wire.SetIPv4Checksum(b)
		resum(b)
		return b
	}
	if n, _ := countRun(packets(first(), second(func([]byte) {}))); n != 2 {
		t.Fatalf("%d joined where nothing differs", n)
	}
	for name, change := range map[string]func(b []byte){
		"source": func(b []byte) { b[15]++ }, "destination": func(b []byte) { b[19]++ },
		"TTL": func(b []byte) { b[8]-- }, "TOS": func(b []byte) { b[1] = 3 }, "DF": func(b []byte) { b[6] = 0 },
		"fragment": func(b []byte) { b[6] = 0x20 }, "protocol": func(b []byte) { b[9] = 17 },
		"port": func(b []byte) { b[21]++ }, "sequence": func(b []byte) { b[27]++ }, "acknowledgment": func(b []byte) { b[31]++ },
		"window": func(b []byte) { b[35]++ }, "FIN": func(b []byte) { b[33] |= 1 }, "RST": func(b []byte) { b[33] |= 4 },
		"SYN": func(b []byte) { b[33] |= 2 }, "URG": func(b []byte) { b[33] |= 32 }, "CWR": func(b []byte) { b[33] |= 128 },
		"options": func(b []byte) { b[45] = 0 }, "data offset": func(b []byte) { b[32] = 0x70 },
	} {
		if n, _ := countRun(packets(first(), second(change))); n != 1 {
			t.Errorf("%s: joined", name)
		}
	}
	larger := tcpPacket(a4, b4, 1100, tcpACK, 12, make([]byte, 101))
	shorter := tcpPacket(a4, b4, 1100, tcpACK, 12, make([]byte, 99))
	pushed := tcpPacket(a4, b4, 1000, tcpACK|tcpPSH, 12, body)
	behind := tcpPacket(a4, b4, 1199, tcpACK, 12, make([]byte, 99))
	badHeader := second(func([]byte) {})
	badHeader[10] ^= 1
	for name, c := range map[string]struct {
		data [][]byte
		want int
	}{
		"larger than the first": {[][]byte{first(), larger}, 1}, "behind a push": {[][]byte{pushed, second(func([]byte) {})}, 1},
		"behind a shorter one": {[][]byte{first(), shorter, behind}, 2}, "bad IPv4 checksum": {[][]byte{first(), badHeader}, 1},
		"cut off": {[][]byte{first(), second(func([]byte) {})[:60]}, 1}, "nothing": {[][]byte{first(), {}}, 1},
	} {
		if n, _ := countRun(packets(c.data...)); n != c.want {
			t.Errorf("%s: %d joined, want %d", name, n, c.want)
		}
	}
	pkts := packets(first(), second(func([]byte) {}))
	pkts[1].Drop = packet.TooBig
	if n, _ := countRun(pkts); n != 1 {
		t.Error("joined a packet that was dropped")
	}
	pkts[1].Drop, pkts[1].Offload.NeedsCsum = packet.None, true
	if n, _ := countRun(pkts); n != 1 {
		t.Error("joined a packet with a partial checksum")
	}
}

// Nothing that a worker may hand over makes Write panic.
func TestWriteOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4)) // always the same: the stack behind it is not ours
	for _, forwarding := range []bool{false, true} {
		c := config("a", a4, a6)
		c.Forwarding = forwarding
		c.QueueBytes = 1 << 17
		w := newPort(t, c).NewWriter()
		for range 3000 {
			var data [][]byte
			for i := range 1 + r.IntN(4) {
				b := tcpPacket(b4, a4, uint32(i*200), tcpACK, 0, make([]byte, 200))
				if r.IntN(2) == 1 {
					b = tcpPacket(b6, a6, uint32(i*200), tcpACK, 0, make([]byte, 200))
				}
				for range r.IntN(4) {
					b[r.IntN(60)] = byte(r.Uint32())
				}
				data = append(data, b[:1+r.IntN(len(b))])
			}
			w.Write(packets(data...))
		}
	}
}

// A UDP super-packet is cut, so that the socket gets datagrams; one of TCP goes on as it is.
func TestWriteOfSuperPackets(t *testing.T) {
	p := newPort(t, config("a", a4))
	c := listenPacket(t, p, "udp", "10.9.0.1:7")
	b := udpPacket(a4, 64, 2500)
	b[23] = 7
	pkts := packets(b)
	pkts[0].Offload = packet.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
	p.NewWriter().Write(pkts)
	for _, want := range []int{1000, 1000, 500} {
		if n, _, err := c.ReadFrom(make([]byte, 4096)); n != want || err != nil {
			t.Errorf("%d bytes, want %d: %v", n, want, err)
		}
	}
	bad := packets(udpPacket(a4, 64, 100))
	bad[0].Offload = packet.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 0, HdrLen: 28, CsumStart: 20}
	p.NewWriter().Write(bad)
	if bad[0].Drop != packet.BadOffload {
		t.Errorf("drop %v", bad[0].Drop)
	}
}
