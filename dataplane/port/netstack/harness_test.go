package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/until"
)

func TestMain(m *testing.M) { until.NoLeaks(m) }

// patience bounds every wait; nothing waits for it to pass.
const patience = time.Minute

var (
	a4 = netip.MustParseAddr("10.9.0.1")
	b4 = netip.MustParseAddr("10.9.0.2")
	a6 = netip.MustParseAddr("2001:db8:9::1")
	b6 = netip.MustParseAddr("2001:db8:9::2")
)

// way is what lies between two ports in one direction.
type way struct {
	// super hands super-packets over uncut, as from one port to another within a vrf.
	super bool
	// mtu of the way in bytes, answered with packet-too-big from the far end's address; 0: none.
	mtu atomic.Int64
	// verdict, if set, says for each packet whether it gets through. It may change the packet.
	verdict func(b []byte) bool

	tooBig atomic.Uint64
	// What was read of more than an acknowledgment, and into how many packets it was cut.
	runs, packets atomic.Uint64
}

// pair joins two ports by a pump in each direction, as two workers would.
type pair struct {
	a, b   *Port
	ab, ba *way
	wg     sync.WaitGroup
}

func config(name string, addrs ...netip.Addr) Config {
	c := Config{Name: name, MTU: 1420}
	for _, a := range addrs {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		c.Addresses = append(c.Addresses, netip.PrefixFrom(a, bits))
	}
	return c
}

func newPort(t testing.TB, c Config) *Port {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func newPair(t testing.TB, change ...func(a, b *Config, ab, ba *way)) *pair {
	t.Helper()
	ca, cb := config("a", a4, a6), config("b", b4, b6)
	p := &pair{ab: &way{}, ba: &way{}}
	for _, f := range change {
		f(&ca, &cb, p.ab, p.ba)
	}
	p.a, p.b = newPort(t, ca), newPort(t, cb)
	for i := range p.a.Readers() {
		p.pump(t, p.a, p.b, i, p.ab)
	}
	for i := range p.b.Readers() {
		p.pump(t, p.b, p.a, i, p.ba)
	}
	t.Cleanup(p.close)
	return p
}

func (p *pair) close() {
	p.a.Close()
	p.b.Close()
	p.wg.Wait()
}

func (p *pair) pump(t testing.TB, from, to *Port, queue int, w *way) {
	r, out, back := from.Readers()[queue], to.NewWriter(), from.NewWriter()
	p.wg.Go(func() {
		in, cut, answers := packet.NewBatch(4*(packet.MaxSize+256)), packet.NewBatch(1<<20), packet.NewBatch(1<<18)
		for {
			if err := r.Read(in); err != nil {
				if !errors.Is(err, dataplane.ErrClosed) {
					t.Errorf("read: %v", err)
				}
				return
			}
			answers.Reset()
			for i := range in.Packets() {
				cut.Reset()
				w.pass(t, &in.Packets()[i], cut, answers)
				if in.Packets()[i].Len > 200 {
					w.runs.Add(1)
					w.packets.Add(uint64(cut.Len()))
				}
				out.Write(cut.Packets())
			}
			back.Write(answers.Packets())
		}
	})
}

// pass cuts one packet into what travels, and lets it through or not.
func (w *way) pass(t testing.TB, p *packet.Packet, out, answers *packet.Batch) {
	if mtu := int(w.mtu.Load()); mtu != 0 && p.SegmentSize() > mtu {
		w.tooBig.Add(1)
		var info wire.Info
		wire.Parse(p.Bytes(), &info, true)
		if b := answers.Space(wire.MaxICMP); b != nil && wire.MayAnswer(p.Bytes(), &info) {
			answers.Commit(0, wire.PutICMPError(b, wire.ErrTooBig, info.DstAddr(), p.Bytes(), mtu))
		}
		return
	}
	put := func(b []byte) *packet.Packet {
		if w.verdict != nil && !w.verdict(b) {
			return nil
		}
		return out.Commit(0, copy(out.Space(len(b)), b))
	}
	switch {
	case w.super:
		if q := put(p.Bytes()); q != nil {
			q.Offload = p.Offload
		}
	case p.Offload.GSO == wire.GSONone:
		wire.CompleteChecksum(p.Bytes(), &p.Offload)
		checkPacket(t, p.Bytes())
		put(p.Bytes())
	default:
		var s wire.Segmenter
		if !s.Reset(p.Buf, p.Off, p.Len, &p.Offload) {
			t.Errorf("offload %+v contradicts a packet of %d bytes", p.Offload, p.Len)
			return
		}
		for off, n := s.Next(); n > 0; off, n = s.Next() {
			checkPacket(t, p.Buf[off:off+n])
			put(p.Buf[off : off+n])
		}
	}
}

// checkPacket says whether lengths and checksums are right.
func checkPacket(t testing.TB, b []byte) {
	t.Helper()
	var info wire.Info
	if v := wire.Parse(b, &info, false); v != wire.OK || wire.Length(b) != len(b) {
		t.Errorf("verdict %v, length %d of %d", v, wire.Length(b), len(b))
		return
	}
	if info.Version == 4 && wire.Checksum(b[:b[0]&15*4], 0) != 0 {
		t.Error("IPv4 header checksum is wrong")
	}
	upper := b[info.HdrLen:]
	switch {
	case info.Flags&wire.FlagFragment != 0:
	case info.Proto == wire.ProtoICMP:
		if wire.Checksum(upper, 0) != 0 {
			t.Error("ICMP checksum is wrong")
		}
	case info.Proto == wire.ProtoUDP && info.Version == 4 && binary.BigEndian.Uint16(upper[6:]) == 0:
	default:
		if wire.Checksum(upper, wire.PseudoSum(b, info.Proto, len(upper))) != 0 {
			t.Errorf("checksum of protocol %d is wrong", info.Proto)
		}
	}
}

// handshake is how many packets go each way until a connection stands. Those that faults are put into go unharmed as far, so that
// chance does not decide whether there is a connection in time.
const handshake = 2

// lossy lets through all but a share of the packets. One that carries data is always among the lost.
func lossy(seed uint64, share float64) func([]byte) bool {
	r := rand.New(rand.NewPCG(seed, 1))
	all, data := 0, 0
	return func(b []byte) bool {
		if all++; all <= handshake {
			return true
		}
		if len(b) > 200 {
			data++
		}
		return (len(b) <= 200 || data != 20) && r.Float64() >= share
	}
}

func ctxFor(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	until.True(t, what, patience, ok)
}
