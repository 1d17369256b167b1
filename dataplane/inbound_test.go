package dataplane

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// script is a receive queue that yields what it was given, and is closed then.
type script []Rx

func (s *script) Recv(rx *Rx) error {
	if len(*s) == 0 {
		return ErrClosed
	}
	*rx = (*s)[0]
	*s = (*s)[1:]
	return nil
}

// plainly is an opener of clear packets, one behind the other, of one tunnel. It says what it had no room for.
type plainly struct {
	tunnel  uint32
	crowded int
	errors  []PathError
}

func (o *plainly) PathError(_ Underlay, e *PathError) { o.errors = append(o.errors, *e) }

func (o *plainly) Open(_ *Ctx, _ Underlay, t *Train, out *packet.Batch) {
	for rest := t.Data; len(rest) > 0; {
		d := rest[:min(t.Size, len(rest))]
		rest = rest[len(d):]
		p := out.Append(d, 0, len(d))
		if p == nil {
			o.crowded++
			continue
		}
		p.Ingress = o.tunnel
		wire.Parse(d, &p.Info, false)
	}
}

// TestTrainsOfAllLengths: however many datagrams came at once, their packets find room in the worker's hand, or are counted.
func TestTrainsOfAllLengths(t *testing.T) {
	one := ip4(b4, a4, 60)
	train := func(n int) Train { return Train{Data: bytes.Repeat(one, n), Size: len(one)} }
	b := newBench(t)
	o := &plainly{tunnel: b.one.index}
	b.in.opener, b.in.underlay = o, from{}
	b.in.receiver = &script{
		{Trains: []Train{train(100), train(100), train(28), train(1), train(packet.MaxBatch)}},
		{Malformed: 3, Errors: []PathError{{MTU: 1400}, {Code: "refused"}}},
		{Trains: []Train{train(packet.MaxBatch + 1), train(2)}},
	}
	if err := b.in.run(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if len(b.port.written) != 100+100+28+1+packet.MaxBatch+2 || o.crowded != 0 || len(o.errors) != 2 {
		t.Errorf("%d packets, %d found no room, %d errors", len(b.port.written), o.crowded, len(o.errors))
	}
	if got := b.drops(b.in.worker); got[packet.Malformed] != 3+packet.MaxBatch+1 || len(got) != 1 {
		t.Errorf("drops %v", got)
	}
}

// TestSuperPacketThatFits by its segments enters the tunnel as it is, with DF too.
func TestSuperPacketThatFits(t *testing.T) {
	for _, size := range []uint16{1410, 1411} {
		b := newBench(t)
		pkt := ip4(a4, b4, 28+5000, dontFragment, func(p []byte) { p[9] = wire.ProtoUDP })
		b.batch.Reset()
		copy(b.batch.Space(len(pkt)), pkt)
		b.batch.Commit(0, len(pkt)).Offload = packet.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: size, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
		b.out.walk(b.batch.Packets())
		if fits := size == 1410; (len(b.one.sealed) == 1) != fits || (len(b.port.written) == 0) != fits {
			t.Errorf("segments of %d: %d sealed, %d answers", 28+size, len(b.one.sealed), len(b.port.written))
		}
	}
}

// TestWorkersThatEndedAreCounted among what the plane has dropped.
func TestWorkersThatEndedAreCounted(t *testing.T) {
	p := New(Options{})
	vrf, err := p.AddVRF("main")
	if err != nil {
		t.Fatal(err)
	}
	port := newFakePort()
	if _, err := p.AddPort(vrf, port, nil); err != nil {
		t.Fatal(err)
	}
	p.workers[0].counters.Drop(packet.NoRoute, 0, 5)
	p.running = true
	p.launch(p.pending)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := p.WorkerStats(); len(got) != 1 || got[0].Name != "ended" || got[0].Drops[packet.NoRoute] != 5 {
		t.Errorf("%+v", got)
	}
}

// framing is a tunnel whose frames are the packets themselves.
type framing struct {
	*fakeTunnel
	path *Path
}

func (f *framing) Seal(ctx *Ctx, pkts []packet.Packet) (refused int) {
	for i := range pkts {
		if pkts[i].Drop != packet.None {
			refused++
			continue
		}
		ctx.Tx.Append(Frame{Data: pkts[i].Bytes(), Path: f.path, Tunnel: f.index})
	}
	return refused
}

// TestFramesLeaveWithTheirBatch: what a batch of whatever origin has sealed, fragments and answers too, is gone before the next one
// takes its memory.
func TestFramesLeaveWithTheirBatch(t *testing.T) {
	for name, c := range map[string]struct {
		walk func(*bench)
		want int
	}{
		"from a port":             {func(b *bench) { b.fromPort(ip4(a4, b4, 100), ip4(a4, c4, 101)) }, 2},
		"fragments":               {func(b *bench) { b.fromPort(ip4(a4, b4, 4000), ip4(a4, b4, 4001, identified), ip4(a4, c4, 100)) }, 7},
		"between tunnels":         {func(b *bench) { b.fromTunnel(b.one, ip4(b4, c4, 100), ip6(b6, c6, 100)) }, 2},
		"an answer into a tunnel": {func(b *bench) { b.fromTunnel(b.one, ip4(b4, c4, 100, hopLimit(1))) }, 1},
		"what had waited": {func(b *bench) {
			if err := b.plane.Inject(b.one.index, []Held{{Data: ip4(a4, b4, 4000)}, {Data: ip4(a4, b4, 100)}}); err != nil {
				b.t.Error(err)
			}
		}, 4},
	} {
		b := newBench(t)
		u := new(keepingUnderlay)
		for _, f := range []*fakeTunnel{b.one, b.two} {
			b.plane.tunnels.get(f.index).tunnel = &framing{f, &Path{Underlay: u}}
		}
		if c.walk(b); len(u.sent) != c.want {
			t.Errorf("%s: %d frames have left, want %d", name, len(u.sent), c.want)
		}
		slices.Sort(u.sent) // by the beginning of their headers
		if len(slices.Compact(u.sent)) != c.want {
			t.Errorf("%s: some frames left with the bytes of others", name)
		}
	}
}

func identified(p []byte) { p[4] = 7 }
