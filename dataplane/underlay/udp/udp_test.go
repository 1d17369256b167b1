package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// patience bounds every wait; nothing waits for it to pass.
const patience = time.Minute

var (
	local4 = netip.MustParseAddrPort("127.0.0.1:0")
	local6 = netip.MustParseAddrPort("[::1]:0")
)

func open(t testing.TB, cfg Config) *Socket {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// espFrames makes n frames of an SPI, each size bytes long and numbered.
func espFrames(p *dataplane.Path, spi uint32, n, size int) []dataplane.Frame {
	fs := make([]dataplane.Frame, n)
	for i := range fs {
		b := make([]byte, size)
		binary.BigEndian.PutUint32(b, spi)
		binary.BigEndian.PutUint32(b[4:], uint32(i))
		fs[i] = dataplane.Frame{Data: b, Path: p, DF: true}
	}
	return fs
}

// got is a datagram that arrived.
type got struct {
	data   []byte
	tos    uint8
	remote netip.AddrPort
	train  int
}

// collect receives n datagrams.
func collect(t *testing.T, r dataplane.Receiver, n int) []got {
	t.Helper()
	done := make(chan []got, 1)
	go func() {
		var rx dataplane.Rx
		var all []got
		for len(all) < n {
			if r.Recv(&rx) != nil {
				break
			}
			for _, tr := range rx.Trains {
				for b := tr.Data; len(b) > 0; {
					d := b[:min(tr.Size, len(b))]
					b = b[len(d):]
					all = append(all, got{bytes.Clone(d), tr.TOS, tr.Remote, tr.Count()})
				}
			}
		}
		done <- all
	}()
	select {
	case all := <-done:
		return all
	case <-time.After(patience):
		t.Fatalf("no %d datagrams", n)
		return nil
	}
}

func TestTrainsArriveAsSent(t *testing.T) {
	for name, c := range map[string]struct {
		local netip.AddrPort
		lacks lacks
	}{
		"v4": {local4, lacks{}}, "v6": {local6, lacks{}},
		"no gso": {local4, lacks{gso: true}}, "no gro": {local4, lacks{gro: true}}, "neither": {local6, lacks{gso: true, gro: true}},
		"no steering": {local4, lacks{steering: true}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t, Config{Local: c.local, lacks: c.lacks}), open(t, Config{Local: c.local, lacks: c.lacks})
			p := &dataplane.Path{Underlay: a, Remote: b.Local()}
			fs := espFrames(p, 0x1001, 50, 700)
			fs[49].Data = fs[49].Data[:300]
			for i := range fs {
				fs[i].TOS = 0xb9
			}
			a.NewSender().Send(fs)
			trains := 0
			for i, g := range collect(t, b.Receivers()[0], 50) {
				if !bytes.Equal(g.data, fs[i].Data) || g.tos != 0xb9 || g.remote != a.Local() {
					t.Fatalf("datagram %d: %d bytes, tos %#x, from %v", i, len(g.data), g.tos, g.remote)
				}
				trains = max(trains, g.train)
			}
			if whole := !c.lacks.gso && !c.lacks.gro; whole != (trains > 1) {
				t.Errorf("longest train has %d datagrams", trains)
			}
		})
	}
}

// TestWhatLeavesTogether is alike in all that the kernel is told once, and cut by it so that each frame arrives as it was.
func TestWhatLeavesTogether(t *testing.T) {
	for _, local := range []netip.AddrPort{local4, local6} {
		a, b, c := open(t, Config{Local: local}), open(t, Config{Local: local}), open(t, Config{Local: local})
		toB, toC := &dataplane.Path{Underlay: a, Remote: b.Local()}, &dataplane.Path{Underlay: a, Remote: c.Local()}
		of := func(sizes ...int) []dataplane.Frame {
			fs := espFrames(toB, 1000, len(sizes), 0x10000)
			for i, n := range sizes {
				fs[i].Data = fs[i].Data[:n]
			}
			return fs
		}
		same := func(n, size int) (sizes []int) {
			for range n {
				sizes = append(sizes, size)
			}
			return sizes
		}
		classed, flagged, parted := of(same(6, 500)...), of(same(6, 500)...), of(same(6, 500)...)
		for i := range 2 {
			classed[2+i].TOS, flagged[2+i].DF, parted[2+i].Path = 0xb8, false, toC
		}
		for what, g := range map[string]struct {
			frames []dataplane.Frame
			first  int // of them, leave together
		}{
			"alone":                  {of(500), 1},
			"alike":                  {of(same(10, 500)...), 10},
			"the last is shorter":    {of(500, 500, 300), 3},
			"one in between is":      {of(500, 500, 300, 300, 500), 3},
			"one is longer":          {of(500, 501, 500), 1},
			"longer at the end":      {of(300, 500), 1},
			"more than the kernel's": {of(same(100, 500)...), maxSegments},
			"larger than a datagram": {of(same(50, 1400)...), maxGroup / 1400},
			"another traffic class":  {classed, 2},
			"without DF":             {flagged, 2},
			"to another peer":        {parted, 2},
		} {
			if n := groupLen(g.frames); n != g.first {
				t.Errorf("%s: %d leave together, want %d", what, n, g.first)
			}
			a.NewSender().Send(g.frames)
			var to [2][]dataplane.Frame
			for _, f := range g.frames {
				if f.Drop != packet.None {
					t.Fatalf("%v, %s: %v", local, what, f.Drop)
				}
				peer := map[*dataplane.Path]int{toB: 0, toC: 1}[f.Path]
				to[peer] = append(to[peer], f)
			}
			for peer, s := range []*Socket{b, c} {
				left := map[string]uint8{} // those that another socket sends, without DF, may overtake others
				for _, f := range to[peer] {
					left[string(f.Data)] = f.TOS
				}
				if len(left) == 0 {
					continue
				}
				for _, got := range collect(t, s.Receivers()[0], len(to[peer])) {
					if tos, ok := left[string(got.data)]; !ok || tos != got.tos {
						t.Fatalf("%v, %s: %d bytes with %#x that were not sent, or came twice", local, what, len(got.data), got.tos)
					}
					delete(left, string(got.data))
				}
			}
		}
	}
}

func TestSteeringBySPI(t *testing.T) {
	for _, local := range []netip.AddrPort{local4, local6} {
		a, b := open(t, Config{Local: local}), open(t, Config{Local: local, Queues: 3})
		p := &dataplane.Path{Underlay: a, Remote: b.Local()}
		s := a.NewSender()
		for spi := uint32(3000); spi < 3009; spi++ {
			s.Send(espFrames(p, spi, 1, 100))
		}
		marker := espFrames(p, 0, 1, 100)
		s.Send(marker)
		for q, r := range b.Receivers() {
			n := 3
			if q == 0 {
				n = 4 // and the non-ESP marker
			}
			for _, g := range collect(t, r, n) {
				if spi := binary.BigEndian.Uint32(g.data); int(spi%3) != q {
					t.Errorf("%v: SPI %d came to queue %d", local, spi, q)
				}
			}
		}
	}
}

func TestKeepalivesAreSwallowed(t *testing.T) {
	a, b := open(t, Config{Local: local4}), open(t, Config{Local: local4})
	p := &dataplane.Path{Underlay: a, Remote: b.Local()}
	a.NewSender().Send([]dataplane.Frame{{Data: []byte{0xff}, Path: p}})
	a.NewSender().Send(espFrames(p, 500, 1, 100))
	if g := collect(t, b.Receivers()[0], 1); len(g[0].data) != 100 {
		t.Errorf("got %d bytes", len(g[0].data))
	}
	if n := b.Keepalives(); n != 1 {
		t.Errorf("%d keepalives counted", n)
	}
	// One that follows ESP packets of the same peer closely: the kernel delivers it as the end of their train.
	fs := espFrames(p, 500, 4, 100)
	fs[3].Data = []byte{0xff}
	a.NewSender().Send(fs)
	a.NewSender().Send([]dataplane.Frame{fs[3], fs[3], fs[3]})
	a.NewSender().Send(espFrames(p, 501, 1, 0x1ff))
	got := collect(t, b.Receivers()[0], 4)
	for i, size := range []int{100, 100, 100, 0x1ff} {
		if len(got[i].data) != size {
			t.Errorf("datagram %d has %d bytes, want %d", i, len(got[i].data), size)
		}
	}
	if n := b.Keepalives(); n != 5 || len(got) != 4 {
		t.Errorf("%d keepalives counted, %d datagrams", n, len(got))
	}
}

// TestMalformedDatagramsAreCounted: what is empty is no frame, and does not vanish.
func TestMalformedDatagramsAreCounted(t *testing.T) {
	for _, c := range []struct {
		lacks lacks
		sizes []int
	}{{lacks{}, []int{0, 0}}, {lacks{gro: true}, []int{0, 0, 0}}} {
		b := open(t, Config{Local: local4, lacks: c.lacks})
		conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(b.Local()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, n := range c.sizes {
			if _, err := conn.Write(make([]byte, n)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := conn.Write([]byte{1, 2, 3, 4}); err != nil {
			t.Fatal(err)
		}
		malformed, trains := 0, 0
		for rx := (dataplane.Rx{}); trains == 0; {
			if err := b.Receivers()[0].Recv(&rx); err != nil {
				t.Fatal(err)
			}
			malformed += rx.Malformed
			trains += len(rx.Trains)
		}
		if malformed != len(c.sizes) || trains != 1 {
			t.Errorf("%d of %d were counted, %d trains", malformed, len(c.sizes), trains)
		}
	}
}

// TestNoRoom: what the kernel has no room for is told with what came after it.
func TestNoRoom(t *testing.T) {
	for _, local := range []netip.AddrPort{local4, local6} {
		a, b := open(t, Config{Local: local, lacks: lacks{gso: true}}), open(t, Config{Local: local, Buffer: 1 << 14})
		p := &dataplane.Path{Underlay: a, Remote: b.Local()}
		s, sent := a.NewSender(), 200
		s.Send(espFrames(p, 1000, sent, 500))
		var rx dataplane.Rx
		arrived, lost := 0, 0
		for last := 0; last != sent; { // until what was sent last arrives
			marker := espFrames(p, 1000, 1, 500)
			sent++
			binary.BigEndian.PutUint32(marker[0].Data[4:], uint32(sent))
			if s.Send(marker); marker[0].Drop != packet.None {
				t.Fatal(marker[0].Drop)
			}
			if err := b.Receivers()[0].Recv(&rx); err != nil {
				t.Fatal(err)
			}
			for _, tr := range rx.Trains {
				last = int(binary.BigEndian.Uint32(tr.Data[4:]))
				arrived += tr.Count()
			}
			lost += rx.Lost
		}
		if arrived+lost != sent || lost == 0 {
			t.Errorf("%v: %d of %d arrived, %d had no room", local, arrived, sent, lost)
		}
	}
}

// TestRefusedPeerCostsNobodyElse: the ICMP error that one peer's closed port earns is reported by the next system call; it
// must not cost the frames that call sends.
func TestRefusedPeerCostsNobodyElse(t *testing.T) {
	a, b := open(t, Config{Local: local4}), open(t, Config{Local: local4})
	gone := netip.MustParseAddrPort("127.77.13.9:1") // a port that nobody is given by chance
	s := a.NewSender()
	bad, good := &dataplane.Path{Underlay: a, Remote: gone}, &dataplane.Path{Underlay: a, Remote: b.Local()}
	for range 10 {
		s.Send(espFrames(bad, 600, 1, 100))
		fs := espFrames(good, 700, 3, 100)
		s.Send(fs)
		for _, f := range fs {
			if f.Drop != packet.None {
				t.Fatalf("lost for %v", f.Drop)
			}
		}
	}
	if n := len(collect(t, b.Receivers()[0], 30)); n != 30 {
		t.Errorf("%d arrived", n)
	}
	// The errors themselves: the kernel limits how many it sends, so keep asking for one.
	told := make(chan dataplane.PathError, 1)
	go func() {
		var rx dataplane.Rx
		for a.Receivers()[0].Recv(&rx) == nil {
			if len(rx.Errors) > 0 {
				told <- rx.Errors[0]
				return
			}
		}
	}()
	deadline := time.After(patience)
	for {
		select {
		case e := <-told:
			if len(e.Quote) < 8 || binary.BigEndian.Uint32(e.Quote) != 600 || e.Remote != gone {
				t.Errorf("told %+v", e)
			}
			return
		case <-deadline:
			t.Fatal("no error was reported")
		case <-time.After(20 * time.Millisecond):
			s.Send(espFrames(bad, 600, 1, 100))
		}
	}
}

// TestErrorsAreHeardInAFlood: an ICMP error is heard although there is always something to receive, also if another call was told.
func TestErrorsAreHeardInAFlood(t *testing.T) {
	a := open(t, Config{Local: local4})
	gone := &dataplane.Path{Underlay: a, Remote: netip.MustParseAddrPort("127.77.13.9:1")} // a port that nobody is given by chance
	self := &dataplane.Path{Underlay: a, Remote: a.Local()}
	s := a.NewSender()
	var rx dataplane.Rx
	for turn := range 100_000 { // the kernel limits how many errors it sends
		if turn%1000 == 0 {
			s.Send(espFrames(gone, 600, 1, 100))
			_, _ = unix.GetsockoptInt(a.socks.Queues[0], unix.SOL_SOCKET, unix.SO_ERROR)
		}
		s.Send(espFrames(self, 700, 1, 100))
		if err := a.Receivers()[0].Recv(&rx); err != nil || len(rx.Trains) == 0 {
			t.Fatalf("turn %d: %v, nothing received", turn, err)
		}
		for _, e := range rx.Errors {
			if e.Remote == gone.Remote {
				return
			}
		}
	}
	t.Error("no error was heard")
}

func TestTooLargeForTheDevice(t *testing.T) {
	a, b := open(t, Config{Local: local4}), open(t, Config{Local: local4})
	p := &dataplane.Path{Underlay: a, Remote: b.Local()}
	fs := []dataplane.Frame{{Data: make([]byte, 65500), Path: p, DF: true}, {Data: make([]byte, 65520), Path: p, DF: true}}
	a.NewSender().Send(fs)
	if fs[0].Drop != packet.None || fs[1].Drop != packet.UnderlayTooBig {
		t.Errorf("%v, %v", fs[0].Drop, fs[1].Drop)
	}
}

// TestLargest: a frame as large as the path takes arrives whole, however large that is.
func TestLargest(t *testing.T) {
	for _, local := range []netip.AddrPort{local4, local6} {
		for _, gro := range []bool{false, true} {
			a, b := open(t, Config{Local: local}), open(t, Config{Local: local, lacks: lacks{gro: !gro}})
			mtu, err := a.PathMTU(local.Addr())
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{9300, 20000, mtu - a.Encap().Len()} {
				fs := espFrames(&dataplane.Path{Underlay: a, Remote: b.Local()}, 900, 1, size)
				if a.NewSender().Send(fs); fs[0].Drop != packet.None {
					t.Fatalf("%v, %d bytes: %v", local, size, fs[0].Drop)
				}
				if got := collect(t, b.Receivers()[0], 1); len(got[0].data) != size {
					t.Errorf("%v, receive offload %v: %d bytes of %d", local, gro, len(got[0].data), size)
				}
			}
		}
	}
}

func TestCloseWakesReceivers(t *testing.T) {
	s := open(t, Config{Local: local4, Queues: 2})
	errs := make(chan error, 2)
	for _, r := range s.Receivers() {
		go func() { var rx dataplane.Rx; errs <- r.Recv(&rx) }()
	}
	if s.Close() != nil {
		t.Error("closing")
	}
	for range 2 {
		select {
		case err := <-errs:
			if !errors.Is(err, dataplane.ErrClosed) {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("still asleep")
		}
	}
	if s.Close() != nil {
		t.Error("closing twice")
	}
	late := espFrames(&dataplane.Path{Underlay: s, Remote: s.Local()}, 500, 1, 100)
	if s.NewSender().Send(late); late[0].Drop != packet.UnderlayUnreachable {
		t.Error("sent through a closed socket")
	}
}

func TestDescriptorsComeBack(t *testing.T) {
	count := func() int {
		es, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal("descriptors are counted in /proc: ", err)
		}
		return len(es)
	}
	before := count()
	for range 50 {
		s, err := Open(Config{Local: local6, Queues: 3})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	s := open(t, Config{Local: local4})
	for want, cfg := range map[string]Config{
		"in use by another program":                  {Local: s.Local()},
		"192.0.2.77 is not an address of this host":  {Local: netip.MustParseAddrPort("192.0.2.77:4500")},
		`network namespace "no-such-ns" does not ex`: {Local: local4, NetNS: "no-such-ns"},
	} {
		_, err := Open(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestPathMTU(t *testing.T) {
	s := open(t, Config{Local: local4})
	if mtu, err := s.PathMTU(netip.MustParseAddr("127.0.0.9")); err != nil || mtu < 1500 {
		t.Errorf("%d %v", mtu, err)
	}
}

func TestAllocatesNothing(t *testing.T) {
	for name, l := range map[string]lacks{"offloads": {}, "none": {gso: true, gro: true}} {
		a, b := open(t, Config{Local: local4, lacks: l, Logger: slog.New(slog.DiscardHandler)}), open(t, Config{Local: local4, lacks: l})
		p := &dataplane.Path{Underlay: a, Remote: b.Local()}
		fs := espFrames(p, 900, 20, 1000)
		s, r := a.NewSender(), b.Receivers()[0]
		var rx dataplane.Rx
		n := testing.AllocsPerRun(50, func() {
			s.Send(fs)
			for n := 0; n < len(fs); {
				if r.Recv(&rx) != nil {
					return
				}
				for i := range rx.Trains {
					n += rx.Trains[i].Count()
				}
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	for name, l := range map[string]lacks{"offloads": {}, "none": {gso: true, gro: true}} {
		b.Run(name+"/1400", func(b *testing.B) {
			a, c := open(b, Config{Local: local4, lacks: l}), open(b, Config{Local: local4, lacks: l})
			fs := espFrames(&dataplane.Path{Underlay: a, Remote: c.Local()}, 900, 40, 1400)
			s, r := a.NewSender(), c.Receivers()[0]
			var rx dataplane.Rx
			for i := 0; i < b.N; i += len(fs) {
				s.Send(fs)
				for n := 0; n < len(fs); {
					if err := r.Recv(&rx); err != nil {
						b.Fatal(err)
					}
					for i := range rx.Trains {
						n += rx.Trains[i].Count()
					}
				}
			}
		})
	}
}
