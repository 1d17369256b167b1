package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warrenvpn/warren/internal/until"
	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// await waits for a condition, which somebody else makes true.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	until.True(t, what, time.Minute, cond)
}

// manyRoutes are n prefixes of both families with a few different attributes.
func manyRoutes(n int) (list []Change) {
	for i := range n {
		list = append(list, Change{Prefix: testPrefix(i/2, i%2 == 1), Attrs: &route.Attrs{MED: uint32(i / 2 % 7), HasMED: true}})
	}
	return list
}

// testDialer dials over loopback and remembers its connections, so that a test can break them.
type testDialer struct {
	to    func() net.Addr
	mu    sync.Mutex
	conns []net.Conn
}

func (d *testDialer) Dial(ctx context.Context, n *Neighbor) (net.Conn, error) {
	d.mu.Lock()
	to := d.to()
	d.mu.Unlock()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
	if err == nil {
		d.mu.Lock()
		d.conns = append(d.conns, conn)
		d.mu.Unlock()
	}
	return conn, err
}

func (d *testDialer) breakLast() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if tcp, ok := d.conns[len(d.conns)-1].(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	d.conns[len(d.conns)-1].Close()
}

// testSpeaker is a Speaker that runs until the test ends, or stop.
type testSpeaker struct {
	*Speaker
	table  *memTable
	dialer *testDialer
	addr   net.Addr
	stop   func()
}

func startSpeaker(t *testing.T, local Local, table *memTable, n *Neighbor, to *testSpeaker) *testSpeaker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &testSpeaker{table: table, addr: l.Addr()}
	s.dialer = &testDialer{to: func() net.Addr { return to.addr }}
	if s.Speaker, err = New(Config{Local: local, Table: table, Dialer: s.dialer, Listeners: []net.Listener{l}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply([]*Neighbor{n}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	s.stop = func() { cancel(); <-ended }
	t.Cleanup(s.stop)
	return s
}

// pair is two neighbours on loopback: a waits, b dials.
func pair(t *testing.T, ta, tb *memTable, change func(a, b *Neighbor)) (a, b *testSpeaker) {
	t.Helper()
	na, nb := testNeighbor("b", 65002), testNeighbor("a", 65001)
	for _, n := range []*Neighbor{na, nb} {
		n.Address, n.Exports = netip.MustParseAddr("127.0.0.1"), true
		n.NextHop6 = netip.MustParseAddr("2001:db8::1")
		n.Timers.Retry = 10 * time.Millisecond
		n.Timers.IdleHold = 10 * time.Millisecond
	}
	na.Passive = true
	// Both ends have one address here: the next hops of the other would be our own.
	na.NextHop4, nb.NextHop4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if change != nil {
		change(na, nb)
	}
	a = startSpeaker(t, Local{AS: 65001, RouterID: 1}, ta, na, nil)
	b = startSpeaker(t, Local{AS: 65002, RouterID: 2}, tb, nb, a)
	return a, b
}

func has(table *memTable, name string, want int) func() bool {
	return func() bool { n, stale := table.count(name); return n == want && stale == 0 }
}

func TestTwoSpeakersExchange(t *testing.T) {
	const n = 10000
	ta, tb := newMemTable(manyRoutes(n)...), newMemTable(manyRoutes(n/2)...)
	a, b := pair(t, ta, tb, nil)
	await(t, "both tables", func() bool { return has(ta, "b", n/2)() && has(tb, "a", n)() })
	for _, r := range tb.routes["a"] {
		if r.attrs.NeighborAS() != 65001 || r.attrs.PathLength() != 1 {
			t.Fatalf("path %v", r.attrs.ASPath)
		}
	}
	await(t, "End-of-RIB", func() bool { return tb.saw("end of IPv4 unicast") && tb.saw("end of IPv6 unicast") })
	await(t, "the count of what came", func() bool { return b.Status()[0].In == Counts{n / 2, n / 2} })
	st := b.Status()[0]
	if st.State != Established || st.Out != (Counts{n / 4, n / 4}) || st.Negotiated == nil {
		t.Errorf("status %+v", st)
	}
	if st.Counters.UpdatesIn > 100 {
		t.Errorf("%d UPDATEs for %d prefixes with 14 different attributes", st.Counters.UpdatesIn, n)
	}

	// A session that breaks keeps its routes and comes again: it was asked to (RFC 4724), and both sides start cold.
	b.dialer.breakLast()
	await(t, "the break", func() bool { return ta.saw("down b") && tb.saw("down a") })
	await(t, "both tables again", func() bool { return has(ta, "b", n/2)() && has(tb, "a", n)() })
	await(t, "the sweep", func() bool { return ta.saw("sweep IPv6") && tb.saw("sweep IPv4") })
	if a.Status()[0].Counters.Sessions != 2 {
		t.Errorf("%d sessions, want 2", a.Status()[0].Counters.Sessions)
	}

	p := testPrefix(1<<20, false)
	ta.advertise(Change{Prefix: p, Attrs: &route.Attrs{}})
	await(t, "one more", has(tb, "a", n+1))
	ta.advertise(Change{Prefix: p})
	await(t, "one less", has(tb, "a", n))

	a.stop()
	await(t, "nothing of who left", has(tb, "a", 0))
	if !tb.saw("Administrative Shutdown") {
		t.Error("the neighbour was not told why")
	}
}

// A session that is dropped in the middle of a table leaves nothing wrong behind.
func TestSessionDropsInTheMiddle(t *testing.T) {
	const n = 10000
	ta, tb := newMemTable(manyRoutes(n)...), newMemTable()
	tb.slow = make(chan struct{})
	_, b := pair(t, ta, tb, nil)
	for range 3 {
		tb.slow <- struct{}{} // a first batch has arrived
		before := b.Status()[0].Counters.Sessions
		b.dialer.breakLast()
		await(t, "another session", func() bool {
			select {
			case tb.slow <- struct{}{}:
			default:
			}
			st := b.Status()[0]
			return st.State == Established && st.Counters.Sessions > before
		})
	}
	tb.mu.Lock()
	slow := tb.slow
	tb.slow = nil
	tb.mu.Unlock()
	close(slow)
	await(t, "the whole table", has(tb, "a", n))
}

func TestLeave(t *testing.T) {
	ta, tb := newMemTable(manyRoutes(2000)...), newMemTable()
	a, b := pair(t, ta, tb, nil)
	await(t, "the table", has(tb, "a", 2000))
	left := make(chan struct{})
	ctx, hurry := context.WithCancel(context.Background())
	defer hurry()
	go func() {
		defer close(left)
		a.Leave(ctx, "upgrade", time.Hour)
	}()
	await(t, "withdrawals", has(tb, "a", 0))
	if tb.saw("down") {
		t.Error("the session ended before the drain")
	}
	hurry()
	<-left
	await(t, "the end", func() bool { return tb.saw(`Administrative Shutdown ("upgrade")`) })
	if st := a.Status()[0]; st.State != Idle {
		t.Errorf("after leaving: %v", st.State)
	}
	if last := b.Status()[0].LastError; last == "" {
		t.Error("the neighbour's status does not say why")
	}
}

func TestHandOver(t *testing.T) {
	const n = 2000
	ta, tb := newMemTable(manyRoutes(n)...), newMemTable()
	a, b := pair(t, ta, tb, nil)
	await(t, "the table", has(tb, "a", n))
	a.HandOver()
	await(t, "stale routes", func() bool { all, stale := tb.count("a"); return all == n && stale == n })
	a.stop()
	next := *testNeighbor("b", 65002)
	next.Address, next.Passive, next.Exports = netip.MustParseAddr("127.0.0.1"), true, true
	next.NextHop4, next.NextHop6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	t2 := newMemTable(manyRoutes(n - 100)...)
	a2 := startSpeaker(t, Local{AS: 65001, RouterID: 1, Resumed: true}, t2, &next, nil)
	b.dialer.mu.Lock()
	b.dialer.to = func() net.Addr { return a2.addr }
	b.dialer.mu.Unlock()
	await(t, "the new table, with what it lacks swept", has(tb, "a", n-100))
}

func TestRefreshAndCommands(t *testing.T) {
	ta, tb := newMemTable(manyRoutes(100)...), newMemTable()
	a, b := pair(t, ta, tb, nil)
	await(t, "the table", has(tb, "a", 100))
	tb.mu.Lock()
	clear(tb.routes["a"])
	tb.mu.Unlock()
	for f := message.IPv4Unicast; f <= message.IPv6Unicast; f++ {
		if err := b.Refresh("a", f); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the table again", has(tb, "a", 100))
	if err := b.Disable("a", "dust"); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return ta.saw(`Administrative Shutdown ("dust")`) })
	if err := b.Refresh("a", message.IPv4Unicast); !errors.Is(err, errNoSession) {
		t.Errorf("refresh without a session: %v", err)
	}
	if err := b.Enable("a"); err != nil {
		t.Fatal(err)
	}
	await(t, "the table once more", has(tb, "a", 100))
	if err := a.PathDown("b", errors.New("no path")); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return tb.saw("BFD Down") })
	await(t, "the table again", has(tb, "a", 100))
	if err := b.Reset("nobody", ""); err == nil {
		t.Error("a command for nobody is no error")
	}
}

func TestApply(t *testing.T) {
	ta, tb := newMemTable(manyRoutes(10)...), newMemTable()
	a, b := pair(t, ta, tb, nil)
	await(t, "the table", has(tb, "a", 10))
	same := *a.peers["b"].neighbor
	if err := a.Apply([]*Neighbor{&same}); err != nil {
		t.Fatal(err)
	}
	if st := a.Status()[0]; st.State != Established || st.Counters.Sessions != 1 {
		t.Errorf("an unchanged neighbour is %v in session %d", st.State, st.Counters.Sessions)
	}
	same.Exports = false
	changed := same
	changed.Exports = false
	if err := a.Apply([]*Neighbor{&changed}); err != nil {
		t.Fatal(err)
	}
	await(t, "the change", func() bool { return tb.saw("Other Configuration Change") })
	await(t, "a session without exports", func() bool { return b.Status()[0].State == Established && has(tb, "a", 0)() })
	if err := a.Apply(nil); err != nil {
		t.Fatal(err)
	}
	await(t, "the removal", func() bool { return tb.saw("Peer De-configured") })
	if err := a.Apply([]*Neighbor{&changed, &changed}); err == nil {
		t.Error("two neighbours of one name are no error")
	}
}

func TestPrefixLimitEndsSession(t *testing.T) {
	ta, tb := newMemTable(manyRoutes(100)...), newMemTable()
	_, b := pair(t, ta, tb, func(a, b *Neighbor) {
		b.Limits = map[message.Family]Limit{message.IPv6Unicast: {Warn: 10, Max: 20}}
	})
	await(t, "the limit", func() bool {
		return ta.saw("Maximum Number of Prefixes Reached") && strings.Contains(b.Status()[0].LastError, "the limit is 20")
	})
}

func TestStrangersAreNotServed(t *testing.T) {
	ta := newMemTable()
	a, _ := pair(t, ta, newMemTable(), func(a, b *Neighbor) { a.Address = netip.MustParseAddr("192.0.2.77") })
	conn, err := net.Dial("tcp", a.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a stranger reads %d octets, %v", n, err)
	}
}

// Both sides dial and listen; whichever connection wins, there is one session and the tables are right.
func TestBothSpeakersDial(t *testing.T) {
	for round := range 5 {
		var listeners [2]net.Listener
		for i := range listeners {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			listeners[i] = l
		}
		tables := [2]*memTable{newMemTable(manyRoutes(300)...), newMemTable(manyRoutes(200)...)}
		ctx, cancel := context.WithCancel(context.Background())
		var ended sync.WaitGroup
		for i := range tables {
			n := testNeighbor("other", uint32(65002-i))
			n.Address, n.Exports = netip.MustParseAddr("127.0.0.1"), true
			n.NextHop4 = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			n.NextHop6 = netip.MustParseAddr("2001:db8::1")
			n.Timers.Retry = 50 * time.Millisecond
			s, err := New(Config{Local: Local{AS: uint32(65001 + i), RouterID: uint32(1 + i)}, Table: tables[i],
				Dialer: &testDialer{to: listeners[1-i].Addr}, Listeners: listeners[i : i+1]})
			if err == nil {
				err = s.Apply([]*Neighbor{n})
			}
			if err != nil {
				t.Fatal(err)
			}
			ended.Go(func() { _ = s.Run(ctx) })
		}
		await(t, fmt.Sprintf("both tables in round %d", round), func() bool {
			return has(tables[0], "other", 200)() && has(tables[1], "other", 300)()
		})
		cancel()
		ended.Wait()
	}
}
