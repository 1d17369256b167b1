package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// notedTap notes what it is shown.
type notedTap struct{ seen []string }

func (n *notedTap) take() []string { s := n.seen; n.seen = nil; return s }

func (n *notedTap) Clear(worker int, out bool, pkts []packet.Packet) {
	for i := range pkts {
		if p := &pkts[i]; p.Drop == packet.None {
			n.seen = append(n.seen, fmt.Sprintf("%d clear %v %v %d", worker, out, p.Info.DstAddr(), p.Len))
		}
	}
}

func (n *notedTap) Sent(worker int, frames []Frame) {
	for i := range frames {
		n.seen = append(n.seen, fmt.Sprintf("%d sent %s", worker, frames[i].Data))
	}
}

func (n *notedTap) Received(worker int, u Underlay, t Train) {
	n.seen = append(n.seen, fmt.Sprintf("%d received %q by %d from %v", worker, t.Data, t.Size, t.Remote))
}

func (n *notedTap) want(t *testing.T, want ...string) {
	t.Helper()
	if got := n.take(); !slices.Equal(got, want) {
		t.Errorf("the tap saw %q, want %q", got, want)
	}
}

// byFirst is an opener of datagrams whose first byte is the tunnel's number. It opens none.
type byFirst struct{ tunnels map[byte]uint32 }

func (byFirst) Open(*Ctx, Underlay, *Train, *packet.Batch) {}
func (byFirst) PathError(Underlay, *PathError)             {}
func (o byFirst) Find(datagram []byte) (uint32, bool) {
	i, ok := o.tunnels[datagram[0]]
	return i, ok
}

// nowhereElse is an underlay that takes everything.
type nowhereElse struct{ Underlay }

func (nowhereElse) NewSender() Sender { return nowhereElse{} }
func (nowhereElse) Send([]Frame)      {}

func TestTapSeesItsTunnel(t *testing.T) {
	b := newBench(t)
	tap, other := new(notedTap), new(notedTap)
	packets := func() {
		b.fromPort(ip4("10.1.0.5", "10.2.0.9", 100), ip4("10.1.0.5", "10.3.0.9", 110), ip4("10.1.0.5", "10.2.0.8", 120, hopLimit(1)),
			ip4("10.1.0.5", "10.2.0.9", 2000, dontFragment), ip4("10.1.0.5", "10.2.0.9", 1500))
		b.fromTunnel(b.one, ip4("10.2.0.9", "10.1.0.5", 90))
		b.fromTunnel(b.two, ip4("10.3.0.9", "10.2.0.5", 80)) // from one tunnel into the other
	}
	if !b.plane.AddTap(b.one.index, tap) || !b.plane.AddTap(b.two.index, other) || b.plane.AddTap(77, other) {
		t.Fatal("two of three tunnels are there")
	}
	packets()
	tap.want(t, "2 clear true 10.2.0.9 100", "2 clear true 10.2.0.8 120", "2 clear true 10.2.0.9 1436", "2 clear true 10.2.0.9 84",
		"3 clear false 10.1.0.5 90", "3 clear true 10.2.0.5 80")
	other.want(t, "2 clear true 10.3.0.9 110", "3 clear false 10.2.0.5 80")
	b.plane.RemoveTap(b.two.index, other)
	b.plane.AddTap(b.one.index, other) // two at once
	packets()
	if got := tap.take(); len(got) != 6 || !slices.Equal(got, other.take()) {
		t.Errorf("two taps of one tunnel differ: %q", got)
	}
	b.plane.RemoveTap(b.one.index, tap)
	b.plane.RemoveTunnel(b.one.index)
	packets()
	tap.want(t)
	other.want(t)
	if b.plane.tunnels.taps.Load() != nil {
		t.Error("nobody taps, and packets look for who does")
	}
}

// TestTapSeesAnErrorThatWeSend: what a router answers into a tunnel is captured as any other packet.
func TestTapSeesAnErrorThatWeSend(t *testing.T) {
	b := newBench(t)
	tap := new(notedTap)
	b.plane.AddTap(b.one.index, tap)
	b.fromTunnel(b.one, ip4("10.2.0.9", "10.99.1.5", 60))
	tap.want(t, "3 clear false 10.99.1.5 60", "3 clear true 10.2.0.9 88")
}

// TestTapSeesWhatWaitedOnce: it was seen when it came.
func TestTapSeesWhatWaitedOnce(t *testing.T) {
	b := newBench(t)
	tap := new(notedTap)
	b.plane.AddTap(b.one.index, tap)
	held := []Held{{Data: ip4("10.1.0.5", "10.2.0.9", 60), Offered: true}, {Data: ip4("10.1.0.5", "10.2.0.9", 61)}}
	if err := b.plane.Inject(b.one.index, held); err != nil {
		t.Fatal(err)
	}
	tap.want(t, "1 clear true 10.2.0.9 61")
	if len(b.one.sealed) != 2 {
		t.Errorf("%d of 2 packets were sealed", len(b.one.sealed))
	}
}

func TestTapSeesFrames(t *testing.T) {
	b := newBench(t)
	tap, other := new(notedTap), new(notedTap)
	b.plane.AddTap(b.one.index, tap)
	b.plane.AddTap(b.two.index, other)
	path := &Path{Underlay: nowhereElse{}, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
	tx := &b.out.ctx.Tx
	for i, tunnel := range []uint32{b.one.index, b.one.index, b.two.index, 0, b.one.index} {
		tx.Append(Frame{Data: []byte{'a' + byte(i)}, Path: path, Tunnel: tunnel})
	}
	tap.want(t)
	tx.Flush()
	tap.want(t, "2 sent a", "2 sent b", "2 sent e")
	other.want(t, "2 sent c")
	b.plane.Sending([]Frame{{Data: []byte("x"), Path: path, Tunnel: b.two.index}})
	other.want(t, "64 sent x")

	b.in.opener, b.in.underlay = byFirst{map[byte]uint32{'1': b.one.index, '2': b.two.index}}, path.Underlay
	b.in.walk([]Train{{Data: []byte("1a1b2c3d1e1"), Size: 2, Remote: path.Remote}, {Data: []byte("2f"), Remote: path.Remote}})
	from := " from 192.0.2.2:4500"
	tap.want(t, `3 received "1a1b" by 2`+from, `3 received "1e1" by 2`+from)
	other.want(t, `3 received "2c" by 2`+from, `3 received "2f" by 0`+from)
	b.plane.Arrived(b.one.index, path.Underlay, Train{Data: []byte("hello"), Remote: path.Remote})
	tap.want(t, `64 received "hello" by 0`+from)
	other.want(t)
}

// TestTapsOfOthersCostNothing: who captures one tunnel makes no packet of another allocate, nor of any while nobody captures.
func TestTapsOfOthersCostNothing(t *testing.T) {
	b := newBench(t)
	b.one.keep, b.two.keep, b.port.keep = false, false, false
	pkt := ip4("10.1.0.5", "10.2.0.9", 100)
	back := ip4("10.2.0.9", "10.1.0.5", 100)
	slot := make([]byte, 300)
	b.in.opener = byFirst{}
	trains := []Train{{Data: []byte("1a1b"), Size: 2}}
	for _, tapped := range []bool{false, true} {
		if tapped {
			b.plane.AddTap(b.two.index, new(notedTap))
		}
		got := testing.AllocsPerRun(100, func() {
			b.batch.Reset()
			copy(b.batch.Space(len(pkt)), pkt)
			b.batch.Commit(0, len(pkt))
			b.out.walk(b.batch.Packets())
			copy(slot[64:], back)
			q := b.in.clear.Append(slot, 64, len(back))
			q.Ingress = b.one.index
			wire.Parse(q.Bytes(), &q.Info, false)
			b.in.walk(trains)
		})
		if got != 0 {
			t.Errorf("%v allocations (another is captured: %v)", got, tapped)
		}
	}
	if b.one.sealed != nil || len(b.drops(b.in.worker)) > 0 {
		t.Error("not the packets that were to be measured")
	}
}
