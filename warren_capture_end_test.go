package warren_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// standing takes what it is given first, and the rest when it is released.
type standing struct {
	file    bytes.Buffer
	begun   chan struct{}
	once    sync.Once
	release chan struct{}
	fails   error // then, unless nil
}

func newStanding(fails error) *standing {
	return &standing{begun: make(chan struct{}), release: make(chan struct{}), fails: fails}
}

func (s *standing) Write(b []byte) (int, error) {
	first := false
	s.once.Do(func() { first = true; close(s.begun) })
	if !first {
		<-s.release
		if s.fails != nil {
			return 0, s.fails
		}
	}
	return s.file.Write(b)
}

// sealing is how many packets sendInto has an engine seal: more than sockets hold, and less than a capture's ring.
const sealing = 600

// senderEngine is an engine with a tunnel to a peer that is not there.
func senderEngine(t *testing.T, options ...warren.Option) *warren.Engine {
	t.Helper()
	sites, _, _ := reloadSites(t)
	sites[0].tunnels = map[string]string{"hand": byHand(1, 10)}
	e, _ := start(t, sites[0].config(t), append(options, warren.WithNetwork(sim.New(sim.Config{})))...)
	eventually(t, "the engine runs", patience, func() bool { return e.Status().State == "running" })
	return e
}

// sendInto has so many packets sealed, or a few more.
func sendInto(t *testing.T, e *warren.Engine) {
	t.Helper()
	c, err := e.DialContext(t.Context(), "udp", netip.MustParseAddrPort("10.2.1.1:9").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := func() uint64 { return tunnelStatus(t, e, "hand").OutPackets }
	for began := time.Now(); sent() < sealing; {
		if time.Since(began) > patience {
			t.Fatalf("%d packets sealed, want %d", sent(), sealing)
		}
		before := sent()
		if _, err := c.Write(make([]byte, 1200)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a packet is sealed", patience, func() bool { return sent() > before })
	}
}

// TestCaptureEndIsAwaited: all that was captured before Ctrl-C is written, although who reads stands still meanwhile for longer than
// programs use to wait.
func TestCaptureEndIsAwaited(t *testing.T) {
	e := senderEngine(t)
	path := filepath.Join(t.TempDir(), "w.sock")
	ln, err := warren.ListenControl(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- e.ServeControl(serving, ln) }()
	w := newStanding(nil)
	ctx, cancel := context.WithCancel(t.Context())
	type result struct {
		report warren.CaptureReport
		err    error
	}
	ended := make(chan result, 1)
	go func() {
		r, err := warren.NewClient(path).Capture(ctx, warren.CaptureConfig{Tunnel: "hand"}, func() (io.Writer, error) { return w, nil })
		ended <- result{r, err}
	}()
	<-w.begun
	sendInto(t, e)
	cancel()
	select {
	case r := <-ended:
		t.Errorf("it ends although nobody reads: %+v", r)
	case <-time.After(2500 * time.Millisecond): // this is the standstill
	}
	close(w.release)
	r := <-ended
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if r.err != nil || r.report.Dropped != 0 || r.report.Why != "stopped" || r.report.Written < 2*sealing {
		t.Errorf("%+v, want %d packets at least", r, 2*sealing)
	}
	if n := packetsIn(t, &w.file); n != r.report.Written {
		t.Errorf("%d packets are in the file, %d are said to be", n, r.report.Written)
	}
}

// packetsIn counts a file's packets.
func packetsIn(t *testing.T, file io.Reader) (n uint64) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{})
	for err == nil {
		if _, _, err = r.ReadPacketData(); err == nil {
			n++
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("after %d packets: %v", n, err)
	}
	return n
}

// TestCaptureCutIsCounted: who cannot take the end of a capture is told how much is missing, and so is the log.
func TestCaptureCutIsCounted(t *testing.T) {
	var mu sync.Mutex
	var logged bytes.Buffer
	e := senderEngine(t, warren.WithLogger(slog.New(slog.NewTextHandler(locked{&mu, &logged}, nil))))
	w := newStanding(errFull)
	ctx, cancel := context.WithCancel(t.Context())
	var report warren.CaptureReport
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		report, err = e.Capture(ctx, warren.CaptureConfig{Tunnel: "hand"}, w)
	}()
	<-w.begun
	sendInto(t, e)
	cancel()
	close(w.release)
	<-ended
	if !errors.Is(err, errFull) || report.Dropped < sealing || report.Written+report.Dropped < 2*sealing {
		t.Errorf("%+v, %v", report, err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := fmt.Sprintf("level=WARN msg=\"capture was cut off\" tunnel=hand packets=%d missing=%d", report.Written, report.Dropped)
	if !strings.Contains(logged.String(), want) {
		t.Errorf("nothing says %s in\n%s", want, &logged)
	}
}

// locked writes for several goroutines.
type locked struct {
	mu *sync.Mutex
	to io.Writer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}
