package dataplane_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// What these benchmarks measure: the whole walk of a packet in memory, batches of 64, with the edges cut off: no system
// calls. Bare is the AEAD alone over the same bytes, in the same memory, from the same source: the source, which stands for
// the kernel's copy into the arena, costs both the same.

const perBatch = 64

// nowhere is an underlay and a port that take everything and give nothing.
type nowhere struct{}

func (nowhere) Name() string                    { return "nowhere" }
func (nowhere) Local() netip.AddrPort           { return netip.MustParseAddrPort("192.0.2.1:4500") }
func (nowhere) Encap() dataplane.Encap          { return dataplane.Encap{UDP: true} }
func (nowhere) Receivers() []dataplane.Receiver { return nil }
func (nowhere) NewSender() dataplane.Sender     { return nowhere{} }
func (nowhere) PathMTU(netip.Addr) (int, error) { return 1500, nil }
func (nowhere) Close() error                    { return nil }
func (nowhere) Send([]dataplane.Frame)          {}
func (nowhere) MTU() int                        { return 1500 }
func (nowhere) Readers() []dataplane.PortReader { return nil }
func (nowhere) NewWriter() dataplane.PortWriter { return nowhere{} }
func (nowhere) Write([]packet.Packet)           {}
func key(i int) []byte                          { k := make([]byte, 20); binary.BigEndian.PutUint32(k, uint32(i)); return k }
func suite(i int, spi uint32, window int) esp.Config {
	return esp.Config{SPI: spi, Suite: esp.AES128GCM16, Key: key(i), ReplayWindow: window}
}

// rig is a plane with n tunnels, each keyed so that it could open what it seals.
type rig struct {
	plane   *dataplane.Plane
	vrf     *dataplane.VRF
	gateway *ipsec.Gateway
	tunnels []*ipsec.Tunnel
	port    int
	window  int // of the SAs that key makes
}

func newRig(b testing.TB, n int) *rig {
	b.Helper()
	r := &rig{plane: dataplane.New(dataplane.Options{Workers: 8}), window: esp.DefaultReplayWindow}
	r.gateway = ipsec.NewGateway(ipsec.Options{Peers: r.plane.Peers()})
	var err error
	if r.vrf, err = r.plane.AddVRF("main"); err != nil {
		b.Fatal(err)
	}
	if r.port, err = r.plane.AddPort(r.vrf, nowhere{}, nil); err != nil {
		b.Fatal(err)
	}
	if err := r.plane.AddUnderlay(nowhere{}, r.gateway); err != nil {
		b.Fatal(err)
	}
	r.route(b, "10.1.0.0/16", dataplane.PortHop(r.port))
	path := &dataplane.Path{Underlay: nowhere{}, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
	for i := range n {
		index, err := r.plane.AddTunnel(dataplane.TunnelConfig{VRF: r.vrf}, func(index uint32) (dataplane.Tunnel, error) {
			t := r.gateway.NewTunnel(index, ipsec.Config{Name: fmt.Sprint(i)})
			t.SetPath(path)
			r.tunnels = append(r.tunnels, t)
			return t, nil
		})
		if err != nil {
			b.Fatal(err)
		}
		r.key(b, i)
		r.route(b, netip.PrefixFrom(remoteOf(i), 24).Masked().String(), dataplane.TunnelHop(index))
	}
	return r
}

// remoteOf is an address behind tunnel i.
func remoteOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 9}) }

func (r *rig) route(b testing.TB, p string, hop fib.HopID) {
	b.Helper()
	if err := r.vrf.Table().Insert(netip.MustParsePrefix(p), []fib.Hop{{ID: hop, Weight: 1}}); err != nil {
		b.Fatal(err)
	}
}

// key gives tunnel i a new child SA in place of the one it has.
func (r *rig) key(b testing.TB, i int) {
	t := r.tunnels[i]
	for _, c := range t.Children() {
		t.RemoveChild(c)
	}
	all := []ipsec.Selector{ipsec.PrefixSelector(netip.MustParsePrefix("0.0.0.0/0")), ipsec.PrefixSelector(netip.MustParsePrefix("::/0"))}
	out, err := esp.NewOutbound(suite(i, uint32(1000+i), 0))
	if err != nil {
		b.Fatal(err)
	}
	in, err := esp.NewInbound(suite(i, uint32(1000+i), r.window))
	if err != nil {
		b.Fatal(err)
	}
	if err := t.AddChild(&ipsec.Child{Out: out, In: in, Local: all, Remote: all}); err != nil {
		b.Fatal(err)
	}
}

func (r *rig) driver(i int) *dataplane.Driver {
	return dataplane.NewDriver(r.plane, r.vrf, r.port, i, nowhere{}, r.gateway)
}

// udp4 is an IPv4 UDP packet of n bytes.
func udp4(src, dst netip.Addr, n int) []byte {
	b := make([]byte, n)
	b[0], b[8], b[9] = 0x45, 64, wire.ProtoUDP
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[24:], uint16(n-20))
	wire.SetIPv4Checksum(b)
	return b
}

// load fills batches with packets for the tunnels, in turn, and puts back the headers that sealing in place has spent. It reads no
// more memory for many tunnels than for one: what it stands for, the kernel's copy, is of packets that have just arrived.
type load struct {
	batch   *packet.Batch
	head    []byte // of a packet for tunnel 0
	sum     uint32 // of that header (RFC 1071)
	tunnels []int
	next    int
	size    int
}

func newLoad(tunnels []int, size int) *load {
	head := udp4(netip.MustParseAddr("10.1.0.5"), remoteOf(0), size)[:32]
	return &load{batch: packet.NewBatch(perBatch * (size + 256)), head: head, sum: uint32(^binary.BigEndian.Uint16(head[10:])), tunnels: tunnels, size: size}
}

func (l *load) fill() []packet.Packet {
	l.batch.Reset()
	for range perBatch {
		b, tunnel := l.batch.Space(l.size), l.tunnels[l.next]
		copy(b, l.head)
		b[17], b[18] = byte(tunnel>>8), byte(tunnel)
		sum := l.sum + uint32(tunnel>>8) + uint32(byte(tunnel))<<8
		binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
		l.batch.Commit(0, l.size)
		if l.next++; l.next == len(l.tunnels) {
			l.next = 0
		}
	}
	return l.batch.Packets()
}

func numbers(from, to int) []int {
	var ns []int
	for i := from; i < to; i++ {
		ns = append(ns, i)
	}
	return ns
}

func BenchmarkOutbound(b *testing.B) {
	for _, size := range []int{1400, 300, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := newRig(b, 1)
			d, l := r.driver(0), newLoad(numbers(0, 1), size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; i < b.N; i += perBatch {
				d.Outbound(l.fill())
			}
			mustNotDrop(b, d)
		})
	}
}

func mustNotDrop(b *testing.B, d *dataplane.Driver) {
	if drops := d.Drops(); len(drops) > 0 {
		b.Fatalf("dropped %v", drops)
	}
}

func gcm(b *testing.B) cipher.AEAD {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	return a
}

// BenchmarkBareSeal seals what Outbound's SA seals: the inner packet, padding and trailer.
func BenchmarkBareSeal(b *testing.B) {
	for _, size := range []int{1400, 300, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			a, l := gcm(b), newLoad(numbers(0, 1), size)
			plain := (size + 2 + 3) &^ 3
			nonce := make([]byte, 12)
			b.SetBytes(int64(size))
			for i := 0; i < b.N; i += perBatch {
				pkts := l.fill()
				for j := range pkts {
					p := &pkts[j]
					binary.BigEndian.PutUint64(nonce[4:], uint64(i+j))
					buf := p.Buf[p.Off-16:]
					a.Seal(buf[16:16], nonce, buf[16:16+plain], buf[:8])
				}
			}
		})
	}
}

// sealed holds frames of tunnel i that have not been opened yet.
type sealed struct {
	size, frame int
	laps        int    // how many frames there are
	frames      []byte // one behind the other
	work        []byte // a batch of them, to be opened in place
	at          int
}

// ahead is how many bytes of frames are sealed ahead: few enough for the last level of cache.
const ahead = 3 << 20

func newSealed(b testing.TB, i, size int) *sealed {
	out, err := esp.NewOutbound(suite(i, uint32(1000+i), 0))
	if err != nil {
		b.Fatal(err)
	}
	s := &sealed{size: size, frame: out.SealedLen(size)}
	s.laps = ahead / s.frame / perBatch * perBatch
	s.frames, s.work = make([]byte, s.laps*s.frame), make([]byte, perBatch*s.frame)
	clear := udp4(remoteOf(i), netip.MustParseAddr("10.1.0.5"), size)
	scratch := esp.NewScratch()
	run := out.Reserve(s.laps)
	for j := range s.laps {
		f := s.frames[j*s.frame : (j+1)*s.frame]
		copy(f[out.HeaderLen():], clear)
		run.Seal(scratch, f, size, wire.ProtoIPv4)
	}
	return s
}

// batch copies the next frames to where they are opened; last says that none are left after it.
func (s *sealed) batch() (data []byte, last bool) {
	n := copy(s.work, s.frames[s.at*s.frame:])
	s.at += perBatch
	if last = s.at == s.laps; last {
		s.at = 0
	}
	return s.work[:n], last
}

func BenchmarkInbound(b *testing.B) {
	for _, size := range []int{1400, 300, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := newRig(b, 1)
			d, s := r.driver(0), newSealed(b, 0, size)
			trains := make([]dataplane.Train, 1)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += perBatch {
				data, last := s.batch()
				trains[0] = dataplane.Train{Data: data, Size: s.frame, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
				d.Inbound(trains)
				if last {
					b.StopTimer()
					r.key(b, 0) // a window that has not seen them
					b.StartTimer()
				}
			}
			mustNotDrop(b, d)
		})
	}
}

// BenchmarkBareOpen opens the same frames. Both copy them first, since opening in place spends them.
func BenchmarkBareOpen(b *testing.B) {
	for _, size := range []int{1400, 300, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := newSealed(b, 0, size)
			a := gcm(b)
			nonce := make([]byte, 12)
			b.SetBytes(int64(size))
			b.ResetTimer()
			for i := 0; i < b.N; i += perBatch {
				data, last := s.batch()
				for ; len(data) > 0; data = data[s.frame:] {
					copy(nonce[4:], data[8:16])
					if _, err := a.Open(data[16:16], nonce, data[16:s.frame], data[:8]); err != nil {
						b.Fatal(err)
					}
				}
				if last {
					b.StopTimer()
					b.StartTimer()
				}
			}
		})
	}
}

// BenchmarkWorkers: the time a packet takes when so many workers share the work.
func BenchmarkWorkers(b *testing.B) {
	for _, c := range []struct {
		name    string
		tunnels int
		inbound bool
	}{{"manySAs", 64, false}, {"oneSAOutbound", 1, false}, {"oneSAInbound", 1, true}} {
		for _, n := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				r := newRig(b, c.tunnels)
				if c.inbound {
					benchInbound(b, r, n)
					return
				}
				var wg sync.WaitGroup
				for w := range n {
					d := r.driver(w)
					l := newLoad(numbers(w*c.tunnels/n, max(1, (w+1)*c.tunnels/n)), 1400)
					if c.tunnels == 1 {
						l = newLoad(numbers(0, 1), 1400)
					}
					wg.Go(func() {
						for i := 0; i < b.N/n; i += perBatch {
							d.Outbound(l.fill())
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// benchInbound: the workers open one SA's frames, whoever is free the next batch. Between laps, when all frames are opened, the one
// who opened the last gives the tunnel a new SA, which is timed too. The others wait running: to wake a goroutine takes as long as a
// tenth of a lap, which is none of the engine's time.
func benchInbound(b *testing.B, r *rig, n int) {
	r.window = esp.MaxReplayWindow // a lap: no frame is too old when its worker has not had a CPU for a while
	r.key(b, 0)
	s := newSealed(b, 0, 1400)
	var next, opened, fresh atomic.Int64 // frames: begun, done, and done when the SA was made
	var wg sync.WaitGroup
	var drivers []*dataplane.Driver
	b.ResetTimer()
	for w := range n {
		d, work := r.driver(w), make([]byte, perBatch*s.frame)
		drivers = append(drivers, d)
		wg.Go(func() {
			trains := make([]dataplane.Train, 1)
			for from := next.Add(perBatch) - perBatch; from < int64(b.N); from = next.Add(perBatch) - perBatch {
				at := int(from) % s.laps
				for fresh.Load() < from-int64(at) {
					runtime.Gosched()
				}
				copy(work, s.frames[at*s.frame:(at+perBatch)*s.frame])
				trains[0] = dataplane.Train{Data: work, Size: s.frame, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
				d.Inbound(trains)
				if done := opened.Add(perBatch); done%int64(s.laps) == 0 {
					r.key(b, 0)
					fresh.Store(done)
				}
			}
		})
	}
	wg.Wait()
	for _, d := range drivers {
		mustNotDrop(b, d)
	}
}

// BenchmarkTunnels: the time a packet takes with so many tunnels, packets going to each in turn, and the memory that a
// tunnel takes with its child SA and its route.
func BenchmarkTunnels(b *testing.B) {
	for _, n := range []int{1, 64, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := heap()
			r := newRig(b, n)
			size := float64(heap()-before) / float64(n)
			d, l := r.driver(0), newLoad(numbers(0, n), 1400)
			b.ResetTimer()
			for i := 0; i < b.N; i += perBatch {
				d.Outbound(l.fill())
			}
			if n > 1 { // one tunnel's share includes the whole plane
				b.ReportMetric(size, "B/tunnel")
			}
			mustNotDrop(b, d)
		})
	}
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
