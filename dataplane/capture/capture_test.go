package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/internal/until"
)

func TestMain(m *testing.M) { until.NoLeaks(m) }

// patience bounds every wait; nothing waits for it to pass.
const patience = time.Minute

// captured is one packet of a file, with what gopacket's reader does not tell.
type captured struct {
	iface  string
	link   layers.LinkType
	dir    uint32
	time   time.Time
	length int
	data   []byte
}

// readBack reads a file with gopacket, and the directions from the blocks themselves.
func readBack(t *testing.T, file []byte) []captured {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	dirs := directions(t, file)
	var out []captured
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, captured{i.Name, i.LinkType, dirs[len(out)], ci.Timestamp, ci.Length, data})
	}
	if len(out) != len(dirs) {
		t.Fatalf("%d packets, %d blocks", len(out), len(dirs))
	}
	return out
}

// directions walks over the blocks (draft-ietf-opsawg-pcapng section 3.1).
func directions(t *testing.T, file []byte) (out []uint32) {
	t.Helper()
	for le := binary.LittleEndian; len(file) > 0; {
		size := int(le.Uint32(file[4:]))
		if size%4 != 0 || size > len(file) || int(le.Uint32(file[size-4:])) != size {
			t.Fatalf("a block of %d bytes of %d, ending in %d", size, len(file), le.Uint32(file[size-4:]))
		}
		if le.Uint32(file) == blockEnhancedPacket {
			n := int(le.Uint32(file[20:]))
			o := file[28+(n+3)&^3:]
			if le.Uint16(o) != optionFlags || le.Uint16(o[2:]) != 4 || le.Uint32(o[8:]) != optionEnd {
				t.Fatalf("options % x", o[:12])
			}
			out = append(out, le.Uint32(o[4:]))
		}
		file = file[size:]
	}
	return out
}

// clock gives every batch a time of its own.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Millisecond)
	return c.t
}

func newClock() *clock { return &clock{t: time.Unix(1700000000, 123456789)} }

func ipv4(n int, id byte) []byte {
	b := make([]byte, n)
	b[0], b[2], b[3], b[5], b[8], b[9] = 0x45, byte(n>>8), byte(n), id, 64, 17
	b[15], b[19] = 1, 2
	return b
}

func TestPortIsCopiedBothWays(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, Options{Now: newClock().now})
	p := pipe.New(pipe.Config{Name: "lan0", Queues: 2})
	tap := TapPort(p, w)
	if tap.Name() != "lan0" || tap.MTU() != p.MTU() || len(tap.Readers()) != 2 {
		t.Fatal("the tap is another port")
	}
	var want [][]byte
	b, out := packet.NewBatch(1<<18), tap.NewWriter()
	for i := range 20 {
		in := ipv4(100+i, byte(i))
		p.InjectTo(i%2, pipe.Packet{Data: in})
		if err := tap.Readers()[i%2].Read(b); err != nil {
			t.Fatal(err)
		}
		want = append(want, in)
		dropped := b.Packets()[0]
		dropped.Drop = packet.NoRoute
		out.Write([]packet.Packet{dropped, b.Packets()[0]})
		want = append(want, in)
	}
	super := ipv4(60000, 99) // as it is
	p.Inject(super)
	tap.Readers()[0].Read(b)
	want = append(want, super)
	if n := p.Drain(); n != 20 {
		t.Errorf("%d packets went through the tap", n)
	}
	tap.Close()
	if err := tap.Readers()[0].Read(b); !errors.Is(err, dataplane.ErrClosed) {
		t.Errorf("read of a closed port: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := readBack(t, file.Bytes())
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i, g := range got {
		dir := uint32(inbound)
		if i%2 == 1 {
			dir = outbound
		}
		if g.iface != "lan0" || g.link != layers.LinkTypeRaw || g.dir != dir || !bytes.Equal(g.data, want[i]) || g.length != len(want[i]) {
			t.Errorf("packet %d: %s, link %v, direction %d, %d bytes", i, g.iface, g.link, g.dir, g.length)
		}
		if at := time.Unix(1700000000, 123456789).Add(time.Duration(i+2) * time.Millisecond); !g.time.Equal(at) {
			t.Errorf("packet %d at %v, want %v", i, g.time, at)
		}
	}
	if s := w.Stats(); s != (Stats{Captured: uint64(len(want)), Written: uint64(len(want))}) {
		t.Errorf("stats %+v", s)
	}
	if !errors.Is(w.Err(), ErrClosed) || w.Close() != nil {
		t.Errorf("after the end: %v", w.Err())
	}
}

// fakeUnderlay receives what it is given and forgets what it sends.
type fakeUnderlay struct {
	local  netip.AddrPort
	encap  dataplane.Encap
	trains []dataplane.Train
	sent   int
}

func (u *fakeUnderlay) Name() string                    { return "fake " + u.local.String() }
func (u *fakeUnderlay) Local() netip.AddrPort           { return u.local }
func (u *fakeUnderlay) Encap() dataplane.Encap          { return u.encap }
func (u *fakeUnderlay) Receivers() []dataplane.Receiver { return []dataplane.Receiver{u} }
func (u *fakeUnderlay) NewSender() dataplane.Sender     { return u }
func (u *fakeUnderlay) PathMTU(netip.Addr) (int, error) { return 1500, nil }
func (u *fakeUnderlay) Close() error                    { return nil }
func (u *fakeUnderlay) Recv(rx *dataplane.Rx) error {
	rx.Trains = append(rx.Trains[:0], u.trains...)
	return nil
}
func (u *fakeUnderlay) Send(frames []dataplane.Frame) { u.sent += len(frames); clear(frames[0].Data) }

func TestUnderlayGetsOuterHeaders(t *testing.T) {
	ap := netip.MustParseAddrPort
	frame := bytes.Repeat([]byte{1, 2, 3}, 21)
	for name, c := range map[string]struct {
		local, remote, shown netip.AddrPort
		udp                  bool
	}{
		"UDP over IPv4":  {ap("192.0.2.1:4500"), ap("192.0.2.2:999"), ap("192.0.2.1:4500"), true},
		"UDP over IPv6":  {ap("[2001:db8::1]:4500"), ap("[2001:db8::2]:999"), ap("[2001:db8::1]:4500"), true},
		"ESP over IPv4":  {ap("192.0.2.1:0"), ap("192.0.2.2:0"), ap("192.0.2.1:0"), false},
		"ESP over IPv6":  {ap("[2001:db8::1]:0"), ap("[2001:db8::2]:0"), ap("[2001:db8::1]:0"), false},
		"any address":    {ap("[::]:4500"), ap("192.0.2.2:999"), ap("0.0.0.0:4500"), true},
		"mapped address": {ap("192.0.2.1:4500"), ap("[::ffff:192.0.2.2]:999"), ap("192.0.2.1:4500"), true},
	} {
		t.Run(name, func(t *testing.T) {
			var file bytes.Buffer
			w := NewWriter(&file, Options{Now: newClock().now})
			u := &fakeUnderlay{local: c.local, encap: dataplane.Encap{UDP: c.udp, IPv6: c.remote.Addr().Is6()}}
			tap := TapUnderlay(u, w)
			u.trains = []dataplane.Train{
				{Data: append(append([]byte{}, frame...), frame[:20]...), Size: len(frame), Remote: c.remote, TOS: 0xb9},
				{Data: frame[:33], Size: 33, Remote: c.remote},
			}
			tap.Receivers()[0].Recv(&dataplane.Rx{})
			path := &dataplane.Path{Underlay: tap, Remote: c.remote}
			tap.NewSender().Send([]dataplane.Frame{
				{Data: append([]byte{}, frame...), Path: path, TOS: 3, DF: true}, {Data: frame, Path: path, Drop: packet.UnderlayFull},
			})
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got := readBack(t, file.Bytes())
			if len(got) != 4 || u.sent != 2 {
				t.Fatalf("%d packets, %d sent", len(got), u.sent)
			}
			remote := netip.AddrPortFrom(c.remote.Addr().Unmap(), c.remote.Port())
			for i, want := range [][]byte{frame, frame[:20], frame[:33], frame} {
				src, dst, dir, tos, df := remote, c.shown, uint32(inbound), []uint8{0xb9, 0xb9, 0, 3}[i], false
				if i == 3 {
					src, dst, dir, df = c.shown, remote, outbound, true
				}
				if got[i].dir != dir {
					t.Errorf("packet %d: direction %d", i, got[i].dir)
				}
				checkOuter(t, got[i].data, src, dst, tos, df, c.udp, want)
			}
		})
	}
}

// checkOuter lets gopacket decode and verify the made-up headers.
func checkOuter(t *testing.T, b []byte, src, dst netip.AddrPort, tos uint8, df, udp bool, payload []byte) {
	t.Helper()
	first := gopacket.Decoder(layers.LayerTypeIPv4)
	if src.Addr().Is6() {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.Default)
	flow := p.NetworkLayer().NetworkFlow()
	if flow.Src().String() != src.Addr().String() || flow.Dst().String() != dst.Addr().String() || p.Metadata().Truncated {
		t.Errorf("from %v to %v, want %v and %v; truncated %v", flow.Src(), flow.Dst(), src, dst, p.Metadata().Truncated)
	}
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		if ip.TOS != tos || (ip.Flags&layers.IPv4DontFragment != 0) != df || int(ip.Length) != len(b) {
			t.Errorf("TOS %x, flags %v, length %d", ip.TOS, ip.Flags, ip.Length)
		}
	case *layers.IPv6:
		if ip.TrafficClass != tos {
			t.Errorf("traffic class %x", ip.TrafficClass)
		}
	}
	upper := p.NetworkLayer().LayerPayload()
	if udp {
		u, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || uint16(u.SrcPort) != src.Port() || uint16(u.DstPort) != dst.Port() {
			t.Fatalf("UDP %+v", u)
		}
		if sum := u.Checksum; sum != 0 {
			u.SetNetworkLayerForChecksum(p.NetworkLayer())
			buf := gopacket.NewSerializeBuffer()
			gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, u, gopacket.Payload(payload))
			if u.Checksum != sum {
				t.Errorf("UDP checksum %x, want %x", sum, u.Checksum)
			}
		} else if src.Addr().Is6() {
			t.Error("no UDP checksum over IPv6")
		}
		upper = u.LayerPayload()
	}
	if !bytes.Equal(upper, payload) {
		t.Errorf("payload % x, want % x", upper, payload)
	}
}

func TestSnapLen(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, Options{SnapLen: 64})
	p := pipe.New(pipe.Config{})
	r := TapPort(p, w).Readers()[0]
	p.Inject(ipv4(1000, 1), ipv4(40, 2))
	r.Read(packet.NewBatch(1 << 16))
	w.Close()
	got := readBack(t, file.Bytes())
	if len(got) != 2 || len(got[0].data) != 64 || got[0].length != 1000 || len(got[1].data) != 40 || got[1].length != 40 {
		t.Errorf("%+v", got)
	}
}

// stuck is a file that does not take anything before it is told to.
type stuck struct {
	bytes.Buffer
	release chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.release
	return s.Buffer.Write(b)
}

func TestFullRingDropsTheCopyAlone(t *testing.T) {
	file := &stuck{release: make(chan struct{})}
	w := NewWriter(file, Options{SnapLen: 1500, RingBytes: 1 << 14})
	p := pipe.New(pipe.Config{})
	tap := TapPort(p, w)
	out := tap.NewWriter()
	b := packet.NewBatch(1 << 17)
	copy(b.Space(1400), ipv4(1400, 1))
	b.Commit(0, 1400)
	const n = 500
	for range n {
		out.Write(b.Packets()) // would hang here if it waited
	}
	if got := p.Drain(); got != n {
		t.Errorf("%d of %d packets went through", got, n)
	}
	s := w.Stats()
	if s.Captured+s.Dropped != n || s.Dropped < n/2 || s.Captured < 8 {
		t.Errorf("stats %+v", s)
	}
	close(file.release)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(readBack(t, file.Bytes())); got != int(s.Captured) {
		t.Errorf("%d in the file, %d captured", got, s.Captured)
	}
	r, _ := pcapgo.NewNgReader(bytes.NewReader(file.Bytes()), pcapgo.DefaultNgReaderOptions)
	for {
		if _, _, err := r.ReadPacketData(); err != nil {
			break
		}
	}
	if i, err := r.Interface(0); err != nil || i.Statistics.PacketsDropped != s.Dropped || i.Statistics.PacketsReceived != n {
		t.Errorf("statistics in the file: %+v, %v", i.Statistics, err)
	}
}

// full is a disk that takes so much and no more.
type full struct{ left int }

var errDisk = errors.New("no space left on device")

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errDisk
	}
	return len(b), nil
}

func TestFullDiskEndsTheCaptureAlone(t *testing.T) {
	w := NewWriter(&full{1 << 16}, Options{})
	p := pipe.New(pipe.Config{})
	tap := TapPort(p, w)
	out := tap.NewWriter()
	b := packet.NewBatch(1 << 17)
	copy(b.Space(1400), ipv4(1400, 1))
	b.Commit(0, 1400)
	deadline := time.Now().Add(patience)
	for w.Err() == nil && time.Now().Before(deadline) {
		out.Write(b.Packets())
		p.Drain()
	}
	if err := w.Err(); !errors.Is(err, errDisk) {
		t.Fatalf("error %v", err)
	}
	before := w.Stats()
	out.Write(b.Packets())
	if p.Drain() != 1 || w.Stats() != before {
		t.Error("packets do not go on as if there were no tap")
	}
	if err := w.Close(); !errors.Is(err, errDisk) {
		t.Errorf("close: %v", err)
	}
}

// Several workers fill while the writer drains; each worker's packets stay in order and whole.
func TestManyWorkers(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, Options{SnapLen: 2000, RingBytes: 1 << 16})
	p := pipe.New(pipe.Config{Depth: 8})
	tap := TapPort(p, w)
	const workers, rounds = 4, 400
	var wg sync.WaitGroup
	for id := range workers {
		out := tap.NewWriter()
		wg.Go(func() {
			b := packet.NewBatch(1 << 16)
			for i := range rounds {
				b.Reset()
				for j := range 3 {
					n := 40 + (i*7+j*501)%1400
					pkt := ipv4(n, byte(id))
					binary.BigEndian.PutUint32(pkt[20:], uint32(i*3+j))
					for k := 24; k < n; k++ {
						pkt[k] = byte(i + j)
					}
					copy(b.Space(n), pkt)
					b.Commit(0, n)
				}
				out.Write(b.Packets())
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := w.Stats()
	if s.Captured+s.Dropped != workers*rounds*3 {
		t.Errorf("stats %+v", s)
	}
	got := readBack(t, file.Bytes())
	if len(got) != int(s.Captured) {
		t.Errorf("%d packets in the file, %d captured", len(got), s.Captured)
	}
	var last [workers]int
	for _, g := range got {
		id, seq := g.data[5], int(binary.BigEndian.Uint32(g.data[20:]))+1
		if seq <= last[id] {
			t.Fatalf("worker %d: packet %d behind %d", id, seq, last[id])
		}
		last[id] = seq
		for _, c := range g.data[24:] {
			if c != byte((seq-1)/3+(seq-1)%3) {
				t.Fatalf("worker %d, packet %d is mixed up", id, seq)
			}
		}
	}
}

func TestTapsAllocateNothing(t *testing.T) {
	w := NewWriter(io.Discard, Options{})
	p := pipe.New(pipe.Config{Depth: 4})
	tap := TapPort(p, w)
	u := &fakeUnderlay{local: netip.MustParseAddrPort("192.0.2.1:4500"), encap: dataplane.Encap{UDP: true}}
	under := TapUnderlay(u, w)
	remote := netip.MustParseAddrPort("192.0.2.2:4500")
	u.trains = []dataplane.Train{{Data: make([]byte, 300), Size: 100, Remote: remote}}
	var rx dataplane.Rx
	frames := []dataplane.Frame{{Data: make([]byte, 100), Path: &dataplane.Path{Underlay: under, Remote: remote}}}
	b := packet.NewBatch(1 << 14)
	in, out, recv, send := tap.Readers()[0], tap.NewWriter(), under.Receivers()[0], under.NewSender()
	data := ipv4(1400, 1)
	round := func() {
		p.Inject(data)
		in.Read(b)
		out.Write(b.Packets())
		p.Drain()
		recv.Recv(&rx)
		send.Send(frames)
	}
	round()
	w.Close() // so that the writer's own allocations are not counted; taps copy on
	w.live.Store(true)
	for range 8 {
		round()
	}
	before := w.Stats()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
	if s := w.Stats(); s.Captured < before.Captured+100 || s.Dropped != 0 {
		t.Errorf("copied %+v, before that %+v", s, before)
	}
	for w.Stats().Dropped < 100 { // nor does a full ring
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round with full rings", n)
	}
}
