package raw

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// patience bounds every wait; nothing waits for it to pass.
const patience = time.Minute

func open(t testing.TB, local string, queues int) *Socket {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: opens raw sockets")
	}
	s, err := Open(Config{Local: netip.MustParseAddr(local), Queues: queues})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func frames(from *Socket, to string, spi uint32, n, size int, df bool) []dataplane.Frame {
	p := &dataplane.Path{Underlay: from, Remote: netip.AddrPortFrom(netip.MustParseAddr(to), 0)}
	fs := make([]dataplane.Frame, n)
	for i := range fs {
		b := make([]byte, size)
		binary.BigEndian.PutUint32(b, spi)
		binary.BigEndian.PutUint32(b[4:], uint32(i))
		fs[i] = dataplane.Frame{Data: b, Path: p, TOS: 0xb9, DF: df}
	}
	return fs
}

// receive waits for n datagrams.
func receive(t *testing.T, r dataplane.Receiver, n int) (all []dataplane.Train) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var rx dataplane.Rx
		for len(all) < n {
			if r.Recv(&rx) != nil {
				return
			}
			for _, tr := range rx.Trains {
				tr.Data = bytes.Clone(tr.Data)
				all = append(all, tr)
			}
		}
	}()
	select {
	case <-done:
		return all
	case <-time.After(patience):
		t.Fatalf("no %d datagrams", n)
		return nil
	}
}

func TestFramesArriveAtTheirWorker(t *testing.T) {
	for _, c := range [][2]string{{"127.0.77.1", "127.0.77.2"}, {"::1", "::1"}} {
		a, b := open(t, c[0], 1), open(t, c[1], 3)
		s := a.NewSender()
		for spi := uint32(3000); spi < 3009; spi++ {
			fs := frames(a, c[1], spi, 2, 500, spi%2 == 0)
			if s.Send(fs); fs[0].Drop != packet.None {
				t.Fatalf("%s: %v", c[0], fs[0].Drop)
			}
		}
		for q, r := range b.Receivers() {
			for _, tr := range receive(t, r, 6) {
				if spi := binary.BigEndian.Uint32(tr.Data); int(spi%3) != q || len(tr.Data) != 500 || tr.TOS != 0xb9 || tr.Remote.Addr().String() != c[0] {
					t.Errorf("%s: SPI %d at worker %d, %d bytes, TOS %#x, from %v", c[0], spi, q, len(tr.Data), tr.TOS, tr.Remote)
				}
			}
		}
		_ = a.Close()
		_ = b.Close()
	}
}

func TestCloseWakesReceivers(t *testing.T) {
	s := open(t, "127.0.77.3", 2)
	errs := make(chan error, 2)
	for _, r := range s.Receivers() {
		go func() { var rx dataplane.Rx; errs <- r.Recv(&rx) }()
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
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
	fs := frames(s, "127.0.77.4", 500, 1, 100, true)
	if s.NewSender().Send(fs); fs[0].Drop != packet.UnderlayUnreachable {
		t.Error("sent through a closed socket")
	}
}

func TestAllocatesNothing(t *testing.T) {
	a, b := open(t, "127.0.77.5", 1), open(t, "127.0.77.6", 1)
	fs := frames(a, "127.0.77.6", 900, 20, 1000, true)
	s, r := a.NewSender(), b.Receivers()[0]
	var rx dataplane.Rx
	n := testing.AllocsPerRun(50, func() {
		s.Send(fs)
		for got := 0; got < len(fs); got += len(rx.Trains) {
			if r.Recv(&rx) != nil {
				return
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTooLarge(t *testing.T) {
	a := open(t, "127.0.77.7", 1)
	fs := frames(a, "127.0.77.8", 900, 1, 65530, true)
	if a.NewSender().Send(fs); fs[0].Drop != packet.UnderlayTooBig {
		t.Errorf("%v", fs[0].Drop)
	}
}

// TestLargest: a frame as large as the path takes arrives whole, however large that is.
func TestLargest(t *testing.T) {
	for _, c := range [][2]string{{"127.0.77.13", "127.0.77.14"}, {"::1", "::1"}} {
		a, b := open(t, c[0], 1), open(t, c[1], 1)
		mtu, err := a.PathMTU(netip.MustParseAddr(c[1]))
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{9300, 20000, mtu - a.Encap().Len()} {
			fs := frames(a, c[1], 900, 1, size, true)
			if a.NewSender().Send(fs); fs[0].Drop != packet.None {
				t.Fatalf("%s: %d bytes: %v", c[1], size, fs[0].Drop)
			}
			if got := receive(t, b.Receivers()[0], 1); len(got[0].Data) != size {
				t.Errorf("%s: %d bytes of %d", c[1], len(got[0].Data), size)
			}
		}
		_, _ = a.Close(), b.Close()
	}
}

// TestNoRoom: what the kernel has no room for is told with what came after it, to the worker whose it was.
func TestNoRoom(t *testing.T) {
	for _, c := range [][2]string{{"127.0.77.9", "127.0.77.10"}, {"::1", "::1"}} {
		a := open(t, c[0], 1)
		b, err := Open(Config{Local: netip.MustParseAddr(c[1]), Queues: 2, Buffer: 1 << 14})
		if err != nil {
			t.Fatal(err)
		}
		s := a.NewSender()
		s.Send(frames(a, c[1], 1000, 200, 500, true))
		for q, sent := range []int{200, 0} {
			var rx dataplane.Rx
			arrived, lost := 0, 0
			for last := uint32(0); last < 200 || int(last) != sent; { // until what was sent last arrives
				marker := frames(a, c[1], 1000+uint32(q), 1, 500, true)
				sent = max(sent, 200) + 1
				binary.BigEndian.PutUint32(marker[0].Data[4:], uint32(sent))
				if s.Send(marker); marker[0].Drop != packet.None {
					t.Fatal(marker[0].Drop)
				}
				if err := b.Receivers()[q].Recv(&rx); err != nil {
					t.Fatal(err)
				}
				for _, tr := range rx.Trains {
					last = binary.BigEndian.Uint32(tr.Data[4:])
				}
				arrived, lost = arrived+len(rx.Trains), lost+rx.Lost
			}
			if q == 1 {
				sent -= 200
			}
			if arrived+lost != sent || (lost > 0) != (q == 0) {
				t.Errorf("%s, worker %d: %d of %d arrived, %d had no room", c[1], q, arrived, sent, lost)
			}
		}
		_, _ = a.Close(), b.Close()
	}
}

// TestTooShortForAnSPI: what has no SPI comes to the first worker, which counts it.
func TestTooShortForAnSPI(t *testing.T) {
	for _, c := range [][2]string{{"127.0.77.11", "127.0.77.12"}, {"::1", "::1"}} {
		a, b := open(t, c[0], 1), open(t, c[1], 2)
		s := a.NewSender()
		for n := range 5 {
			s.Send(frames(a, c[1], 1001, 1, 8, true))
			fs := frames(a, c[1], 1000, 1, 8, true)
			fs[0].Data = fs[0].Data[:n]
			s.Send(fs)
		}
		var rx dataplane.Rx
		stop := time.AfterFunc(patience, func() { _ = b.Close() })
		for short := 0; short < 5; {
			if err := b.Receivers()[0].Recv(&rx); err != nil {
				t.Fatal(err)
			}
			for _, tr := range rx.Trains {
				if len(tr.Data) > 4 {
					t.Errorf("%s: the other worker's packet", c[1])
				}
			}
			short += len(rx.Trains) + rx.Malformed
		}
		stop.Stop()
		for _, tr := range receive(t, b.Receivers()[1], 5) {
			if len(tr.Data) != 8 {
				t.Errorf("%s: %d bytes at the second worker", c[1], len(tr.Data))
			}
		}
		_, _ = a.Close(), b.Close()
	}
}

// TestEverySocketHasItsPlace: device and mark, those that only send and those that only some workers use too.
func TestEverySocketHasItsPlace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: opens raw sockets")
	}
	for _, local := range []string{"127.0.77.15", "::1"} {
		s, err := Open(Config{Local: netip.MustParseAddr(local), Device: "lo", Mark: 0x77, Queues: 3})
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range append(s.socks.Queues, s.socks.ClearDF) {
			mark, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
			device, err2 := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
			if err != nil || err2 != nil || mark != 0x77 || device != "lo" {
				t.Errorf("%v: mark %#x, device %q, %v, %v", local, mark, device, err, err2)
			}
		}
		_ = s.Close()
	}
}
