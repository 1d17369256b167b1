package udp

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// logged is a logger whose lines a test reads.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// collectAny receives n datagrams at whichever queue of s they come to.
func collectAny(t *testing.T, s *Socket, n int) (all [][]byte) {
	t.Helper()
	arrived := make(chan []byte, n)
	var wg sync.WaitGroup
	for _, r := range s.Receivers() {
		wg.Go(func() {
			var rx dataplane.Rx
			for r.Recv(&rx) == nil {
				for _, tr := range rx.Trains {
					for b := tr.Data; len(b) > 0; b = b[min(tr.Size, len(b)):] {
						arrived <- bytes.Clone(b[:min(tr.Size, len(b))])
					}
				}
			}
		})
	}
	deadline := time.After(patience)
	for len(all) < n {
		select {
		case b := <-arrived:
			all = append(all, b)
		case <-deadline:
			t.Fatalf("%d datagrams of %d", len(all), n)
		}
	}
	_ = s.Close()
	wg.Wait()
	return all
}

// TestFallbacksWorkAndSaySoOnce: whatever the kernel lacks, every frame arrives whole at some worker, and the log has one
// line for each thing that is missing however much was sent.
func TestFallbacksWorkAndSaySoOnce(t *testing.T) {
	const gso, gro, steering = "no UDP segmentation offload", "no UDP receive offload", "cannot steer datagrams"
	for _, c := range []struct {
		lacks lacks
		says  []string
	}{
		{lacks{}, nil},
		{lacks{gso: true}, []string{gso}},
		{lacks{gro: true}, []string{gro}},
		{lacks{steering: true}, []string{steering}},
		{lacks{true, true, true}, []string{gso, gro, steering}},
	} {
		t.Run(fmt.Sprintf("%+v", c.lacks), func(t *testing.T) {
			log, lines := logged()
			a := open(t, Config{Local: local4, Queues: 3, lacks: c.lacks, Logger: log})
			b := open(t, Config{Local: local4, Queues: 3, lacks: c.lacks})
			p := &dataplane.Path{Underlay: a, Remote: b.Local()}
			want := map[string]bool{}
			for spi := uint32(3000); spi < 3006; spi++ {
				fs := espFrames(p, spi, 20, 900)
				a.NewSender().Send(fs)
				for _, f := range fs {
					if want[string(f.Data)] = true; f.Drop != packet.None {
						t.Fatalf("not sent: %v", f.Drop)
					}
				}
			}
			for _, got := range collectAny(t, b, len(want)) {
				if !want[string(got)] {
					t.Fatalf("%d bytes that were not sent, or came twice", len(got))
				}
				delete(want, string(got))
			}
			for _, s := range c.says {
				if strings.Count(lines.String(), s) != 1 {
					t.Errorf("%q is not said once in:\n%s", s, lines)
				}
			}
			if n := strings.Count(lines.String(), "\n"); n != len(c.says) {
				t.Errorf("%d lines, want %d:\n%s", n, len(c.says), lines)
			}
		})
	}
}

// TestWithoutSteeringDFStays: then there is no second socket to clear DF on, since the kernel might deliver to it.
func TestWithoutSteeringDFStays(t *testing.T) {
	for _, lacking := range []bool{false, true} {
		a, b := open(t, Config{Local: local4, lacks: lacks{steering: lacking}}), open(t, Config{Local: local4})
		fs := []dataplane.Frame{{Data: make([]byte, 65507), Path: &dataplane.Path{Underlay: a, Remote: b.Local()}}}
		if a.socks.ClearDF >= 0 == lacking {
			t.Errorf("steering lacks: %v, socket that clears DF: %d", lacking, a.socks.ClearDF)
		}
		if a.NewSender().Send(fs); fs[0].Drop != packet.None {
			t.Errorf("steering lacks: %v: %v", lacking, fs[0].Drop)
		}
	}
}

// TestSegmentationRefusedLater: a kernel takes UDP_SEGMENT and yet may refuse it (EIO) by the route or the device. UDP-Lite is
// refused so, and is otherwise like UDP. Nothing is lost, the log has one line, and what follows is not tried so again.
func TestSegmentationRefusedLater(t *testing.T) {
	log, lines := logged()
	a, b := open(t, Config{Local: local4, Logger: log}), open(t, Config{Local: local4})
	for _, s := range []*Socket{a, b} {
		fd, err := s.place.Socket(unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE)
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			t.Skip("this kernel has no UDP-Lite:", err)
		}
		if err == nil {
			err = s.place.Prepare(fd, s.local, false)
		}
		if err == nil {
			err = unix.Dup3(fd, s.socks.Queues[0], unix.O_CLOEXEC)
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			t.Fatal(err)
		}
	}
	if !a.gso.Load() {
		t.Fatalf("no segmentation to begin with:\n%s", lines)
	}
	p, s := &dataplane.Path{Underlay: a, Remote: b.Local()}, a.NewSender()
	for range 3 {
		fs := espFrames(p, 0x1001, 30, 700)
		fs[29].Data = fs[29].Data[:300]
		s.Send(fs)
		for i, g := range collect(t, b.Receivers()[0], len(fs)) {
			if fs[i].Drop != packet.None || !bytes.Equal(g.data, fs[i].Data) {
				t.Fatalf("frame %d: %v, %d bytes arrived", i, fs[i].Drop, len(g.data))
			}
		}
	}
	if a.gso.Load() || strings.Count(lines.String(), "\n") != 1 || !strings.Contains(lines.String(), "device cannot segment UDP") {
		t.Errorf("segmentation still on: %v; said\n%s", a.gso.Load(), lines)
	}
}
