package bgp

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// learnedAttrs are what an external neighbour announces.
var learnedAttrs = &route.Attrs{NextHop: netip.MustParseAddr("192.0.2.2"),
	ASPath: []route.Segment{{Type: route.ASSequence, ASNs: []uint32{65002}}}}

// pipeDialer gives one end of a pipe to the speaker and the other to the test.
type pipeDialer struct{ ends chan net.Conn }

func (d pipeDialer) Dial(ctx context.Context, n *Neighbor) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case d.ends <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rawNeighbor is a neighbour that does what the test says, in a bubble of synctest.
type rawNeighbor struct {
	t     *testing.T
	conn  net.Conn
	s     *Speaker
	stop  func()
	tasks sync.WaitGroup // of the test; they end with stop
}

// meet starts a speaker with the table and opens a session with it.
func meet(t *testing.T, table Table, change func(*Neighbor)) *rawNeighbor {
	n := testNeighbor("raw", 65002)
	n.Address, n.Exports = netip.MustParseAddr("192.0.2.2"), true
	n.NextHop4, n.NextHop6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	if change != nil {
		change(n)
	}
	dialer := pipeDialer{make(chan net.Conn)}
	s, err := New(Config{Local: Local{AS: 65001, RouterID: 1}, Table: table, Dialer: dialer})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply([]*Neighbor{n}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	r := &rawNeighbor{t: t, conn: <-dialer.ends, s: s}
	r.stop = func() { cancel(); r.conn.Close(); <-ended; r.tasks.Wait() }
	r.next()
	r.write((&message.OpenMessage{AS: 65002, HoldTime: 9, RouterID: 2, FourOctetAS: true, Families: bothFamilies,
		Graceful: &message.Graceful{}}).Append(nil))
	r.next()
	r.write(message.AppendKeepalive(nil))
	return r
}

func (r *rawNeighbor) write(msg []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(msg); err != nil {
		r.t.Fatal(err)
	}
}

// next reads a message.
func (r *rawNeighbor) next() (message.Type, []byte) {
	r.t.Helper()
	var b [message.MaxLength]byte
	for have := 0; ; have++ {
		if n := wholeMessages(b[:have], 0); n > 0 {
			return message.Type(b[18]), b[:n]
		}
		if _, err := r.conn.Read(b[have : have+1]); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rawNeighbor) keepalives(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		if _, err := r.conn.Write(message.AppendKeepalive(nil)); err != nil {
			return
		}
	}
}

// A neighbour that goes on sending but accepts nothing loses its session by the send hold timer, and not before.
func TestNeighborThatReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newMemTable(manyRoutes(20000)...)
		r := meet(t, table, func(n *Neighbor) { n.Timers.SendHold = 30 * time.Second })
		defer r.stop()
		r.keepalives(29 * time.Second)
		if st := r.s.Status()[0]; st.State != Established {
			t.Fatalf("after 29 s: %v, %s", st.State, st.LastError)
		}
		r.keepalives(3 * time.Second)
		synctest.Wait()
		if st := r.s.Status()[0]; st.State == Established || !strings.Contains(st.LastError, "accepts nothing") {
			t.Errorf("after 32 s: %v, %q", st.State, st.LastError)
		}
	})
}

// While the table stands still its neighbours' sessions live on, with keepalives in time, and nothing is lost.
func TestTableThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newMemTable()
		table.slow = make(chan struct{})
		r := meet(t, table, nil)
		defer r.stop()
		const n = 300
		r.tasks.Go(func() { // each on its own, so that batches pile up; then silence
			for i := range n {
				msg, _ := message.AppendUpdate(nil, message.IPv4Unicast, learnedAttrs, []netip.Prefix{testPrefix(i, false)},
					&message.Options{FourOctetAS: true})
				if _, err := r.conn.Write(msg); err != nil {
					return
				}
			}
			r.keepalives(200 * time.Second)
		})
		last, worst := time.Now(), time.Duration(0)
		for start := time.Now(); time.Since(start) < 100*time.Second; last = time.Now() {
			if typ, msg := r.next(); typ == message.TypeNotification {
				t.Fatalf("NOTIFICATION %v after %v", msg[19:], time.Since(start))
			}
			worst = max(worst, time.Since(last))
		}
		if worst > 4*time.Second {
			t.Errorf("%v without a message, want a third of the hold time of 9 s", worst)
		}
		close(table.slow)
		synctest.Wait()
		if got, _ := table.count("raw"); got != n {
			t.Errorf("%d prefixes arrived, want %d", got, n)
		}
	})
}

// Announcements that lead back to us are a withdrawal of what was announced before.
func TestLoopsAreWithdrawals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newMemTable()
		r := meet(t, table, nil)
		defer r.stop()
		r.tasks.Go(func() { _, _ = io.Copy(io.Discard, r.conn) })
		announce := func(hop string, path ...uint32) int {
			a := &route.Attrs{NextHop: netip.MustParseAddr(hop), ASPath: []route.Segment{{Type: route.ASSequence, ASNs: path}}}
			msg, _ := message.AppendUpdate(nil, message.IPv4Unicast, a, []netip.Prefix{testPrefix(1, false)}, &message.Options{FourOctetAS: true})
			r.write(msg)
			synctest.Wait()
			n, _ := table.count("raw")
			return n
		}
		for range 2 {
			if n := announce("192.0.2.2", 65002, 7); n != 1 {
				t.Fatal("a good route is not taken")
			}
			if n := announce("192.0.2.2", 65002, 65001, 7); n != 0 {
				t.Fatal("a path through our AS is taken")
			}
		}
		if st := r.s.Status()[0]; st.Counters.Looped != 2 {
			t.Errorf("%d loops counted", st.Counters.Looped)
		}
	})
}

// Who must begin its paths with its own AS, and does not, withdraws.
func TestFirstASIsEnforced(t *testing.T) {
	for _, enforced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			table := newMemTable()
			r := meet(t, table, func(n *Neighbor) { n.EnforceFirstAS = enforced })
			defer r.stop()
			r.tasks.Go(func() { _, _ = io.Copy(io.Discard, r.conn) })
			for i, as := range []uint32{65002, 65003} {
				a := &route.Attrs{NextHop: netip.MustParseAddr("192.0.2.2"), ASPath: []route.Segment{{Type: route.ASSequence, ASNs: []uint32{as, 65002}}}}
				msg, _ := message.AppendUpdate(nil, message.IPv4Unicast, a, []netip.Prefix{testPrefix(1, false)}, &message.Options{FourOctetAS: true})
				r.write(msg)
				synctest.Wait()
				want := 1
				if enforced && i == 1 {
					want = 0
				}
				if n, _ := table.count("raw"); n != want {
					t.Errorf("enforced %v, path through AS %d: %d routes, want %d", enforced, as, n, want)
				}
			}
		})
	}
}

// A slow neighbour gets messages often enough in the middle of a long table to keep the session.
func TestSlowReaderGetsMessagesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := meet(t, newMemTable(manyRoutes(50000)...), nil)
		defer r.stop()
		r.tasks.Go(func() { r.keepalives(1000 * time.Second) })
		kinds := map[message.Type]int{}
		for start := time.Now(); time.Since(start) < 90*time.Second; time.Sleep(250 * time.Millisecond) {
			typ, _ := r.next()
			kinds[typ]++
			if typ == message.TypeNotification {
				t.Fatal("a slow reader lost its session")
			}
		}
		if kinds[message.TypeUpdate] < 50 || kinds[message.TypeKeepalive] < 20 {
			t.Errorf("%v: want UPDATEs, and a KEEPALIVE every 3 s of 90", kinds)
		}
	})
}
