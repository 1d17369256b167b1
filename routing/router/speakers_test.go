package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/until"
	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// speakerWorld is a world whose neighbour is spoken with over loopback.
type speakerWorld struct {
	*world
	speaker *bgp.Speaker
	addr    string
	dialer  *dialTo
	stop    func()
}

// Dial implements bgp.Dialer.
func (d *dialTo) Dial(ctx context.Context, _ *bgp.Neighbor) (net.Conn, error) {
	if d.cut.Load() {
		return nil, errors.New("the way is cut")
	}
	return new(net.Dialer).DialContext(ctx, "tcp", d.addr)
}

// dialTo dials whoever is there, unless the way is cut.
type dialTo struct {
	addr string
	cut  atomic.Bool
}

// speak begins to speak with a neighbour that is named peer; with to empty it waits for the neighbour.
func speak(t *testing.T, w *world, as uint32, neighbor *bgp.Neighbor, local bgp.Local, to string) *speakerWorld {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &speakerWorld{world: w, addr: l.Addr().String(), dialer: &dialTo{addr: to}}
	neighbor.Name, neighbor.Address, neighbor.AS, neighbor.Passive = "peer", netip.MustParseAddr("127.0.0.1"), as, to == ""
	neighbor.Families, neighbor.Exports = message.FamiliesOf(message.IPv4Unicast, message.IPv6Unicast), true
	neighbor.Timers = bgp.DefaultTimers()
	neighbor.Timers.Retry, neighbor.Timers.IdleHold = 5*time.Millisecond, 5*time.Millisecond
	if s.speaker, err = bgp.New(bgp.Config{Local: local, Table: w, Dialer: s.dialer, Listeners: []net.Listener{l}}); err != nil {
		t.Fatal(err)
	}
	w.neighbor("peer", as, w.a, all, all)
	if err := s.speaker.Apply([]*bgp.Neighbor{neighbor}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.speaker.Run(ctx) }()
	s.stop = func() {
		if cancel(); ended != nil {
			if err := <-ended; err != nil {
				t.Error(err)
			}
			ended = nil
		}
	}
	t.Cleanup(s.stop)
	return s
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	until.True(t, what, time.Minute, cond)
}

// TestBetweenSpeakers: what one forwards the other does, over a real session; also after the way was dead, and while one hands
// over to its successor.
func TestBetweenSpeakers(t *testing.T) {
	self := func(i byte) *bgp.Neighbor {
		return &bgp.Neighbor{NextHop4: netip.AddrFrom4([4]byte{192, 0, 2, i}), NextHop6: netip.MustParseAddr(fmt.Sprintf("2001:db8:f::%d", i)),
			Helper: true, RestartTime: 30 * time.Second}
	}
	b := speak(t, newWorld(t), 65001, self(2), bgp.Local{AS: 65002, RouterID: 2}, "")
	start := func(resumed bool, more ...string) *speakerWorld {
		w := newWorld(t)
		w.offer(w.b, "10.1.0.0/16", "2001:db8:1::/48")
		w.offer(w.b, more...)
		return speak(t, w, 65002, self(1), bgp.Local{AS: 65001, RouterID: 1, Resumed: resumed}, b.addr)
	}
	b.offer(b.b, "10.2.0.0/16")
	a := start(false, "10.3.0.0/16")
	has := func(s *speakerWorld, n int) func() bool { return func() bool { return s.fib.Len() == n } }
	await(t, "a's three routes", has(b, 4))
	await(t, "b's route", has(a, 4))
	b.forwards("2001:db8:1::/48", "1")
	b.forwards("10.2.0.0/16", "2")
	a.offer(a.b, "10.4.0.0/16")
	await(t, "a fourth", has(b, 5))

	b.SetUp(b.a, false)
	a.dialer.cut.Store(true)
	if err := b.speaker.PathDown("peer", errors.New("the tunnel is down")); err != nil {
		t.Fatal(err)
	}
	await(t, "a to notice", has(a, 4))
	b.SetUp(b.a, true)
	a.dialer.cut.Store(false)
	await(t, "all again", has(b, 5))
	await(t, "all again", has(a, 5))

	a.speaker.HandOver()
	await(t, "b to notice", func() bool { return b.speaker.Status()[0].State != bgp.Established })
	a.stop()
	if b.fib.Len() != 5 {
		t.Errorf("%d routes of who is about to be taken over, want 5", b.fib.Len())
	}
	start(true, "10.5.0.0/16")
	await(t, "the successor's routes, and no others", func() bool {
		_, kept := b.fib.Get(netip.MustParsePrefix("10.3.0.0/16"))
		return !kept && b.fib.Len() == 4
	})
	await(t, "nothing stale of the predecessor", func() bool { // IPv6 is swept after IPv4
		c := b.Counts(peerOf(b.world))
		return c.Stale == 0 && c.Paths == 3
	})
}

func peerOf(w *world) *route.Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.neighbors["peer"].peer
}
