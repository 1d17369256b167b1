package warren_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/warrenvpn/warren"
)

// capturing is a capture that runs.
type capturing struct {
	mu    sync.Mutex
	file  bytes.Buffer
	begun chan struct{}
	ended chan struct{}
	// Once it has ended.
	report warren.CaptureReport
	err    error
}

func (c *capturing) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file.Len() == 0 {
		close(c.begun)
	}
	return c.file.Write(b)
}

// startCapture returns when packets are captured.
func startCapture(ctx context.Context, t *testing.T, e *warren.Engine, cfg warren.CaptureConfig) *capturing {
	t.Helper()
	c := &capturing{begun: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		c.report, c.err = e.Capture(ctx, cfg, c)
	}()
	select {
	case <-c.begun:
	case <-c.ended:
		t.Fatal(c.err)
	}
	return c
}

// end waits for the end, and wants it to be for a reason.
func (c *capturing) end(t *testing.T, why string) {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.mu.Lock()
		defer c.mu.Unlock()
		t.Fatalf("a capture goes on, and should have ended since %s: %q", why, c.packets(t))
	}
	if c.err != nil || !strings.Contains(c.report.Why, why) || c.report.Dropped != 0 {
		t.Errorf("%+v, %v; want %q", c.report, c.err, why)
	}
}

// packets are what is in the file: its interface, and of clear packets what they are, of sealed ones where they go and their size
// without the outer headers.
func (c *capturing) packets(t *testing.T) (all []string) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(c.file.Bytes()), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.Default)
		what := "to " + p.NetworkLayer().NetworkFlow().Dst().String()
		switch l := p.Layer(layers.LayerTypeICMPv4).(type) {
		case *layers.ICMPv4:
			what = l.TypeCode.String()
		default:
			if kind := data[28]; strings.HasPrefix(i.Name, "wg ") {
				what += " of type " + string('0'+rune(kind))
			}
		}
		all = append(all, i.Name+": "+what)
	}
}

// TestCaptureOfTunnels: of every kind of tunnel both sides, from the packet on that brings it up, which is there once.
func TestCaptureOfTunnels(t *testing.T) {
	there, back := "to 192.0.2.2", "to 192.0.2.1"
	esp := []string{"clear: EchoRequest", "sealed: " + there, "sealed: " + back, "clear: EchoReply"}
	for name, want := range map[string][]string{"hand": slices.Clone(esp), "ike": slices.Clone(esp),
		"wg": {"clear: EchoRequest", "sealed: " + there + " of type 1", "sealed: " + back + " of type 2", "sealed: " + there + " of type 4",
			"sealed: " + back + " of type 4", "clear: EchoReply"}} {
		t.Run(name, func(t *testing.T) {
			for i, what := range want {
				want[i] = name + " " + what
			}
			var both, clear []string
			ends := []string{want[0], want[len(want)-1]}
			for round := 0; round < rounds && !(slices.Equal(both, want) && slices.Equal(clear, ends)); round++ {
				both, clear = captureOfTunnel(t, name, len(want))
			}
			if !slices.Equal(both, want) || !slices.Equal(clear, ends) {
				t.Errorf("captured %q\nwant %q\nand of the clear side %q", both, want, clear)
			}
		})
	}
}

// captureOfTunnel captures so many packets that a ping makes in an idle tunnel, and those of its clear side.
func captureOfTunnel(t *testing.T, name string, n int) (both, clear []string) {
	t.Helper()
	sites, _, public := reloadSites(t)
	for i, s := range sites {
		s.tunnels = map[string]string{name: map[string]string{"hand": byHand(1, 10), "ike": byIKE(1, ""),
			"wg": byWireGuard(1, public[1-i], "", "51820")}[name]}
	}
	e := startReload(t, sites)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all := startCapture(t.Context(), t, e[0], warren.CaptureConfig{Tunnel: name, Count: uint64(n)})
	one := startCapture(ctx, t, e[0], warren.CaptureConfig{Tunnel: name, Side: "clear"})
	if err := ping(t, e[0], "10.2.1.1", patience); err != nil {
		t.Fatal(err)
	}
	all.end(t, "as many packets as were wanted")
	cancel()
	one.end(t, "stopped")
	return all.packets(t), one.packets(t)
}

// TestCaptureEnds: with its time, its tunnel or its engine. A tunnel that is replaced goes on being captured.
func TestCaptureEnds(t *testing.T) {
	sites, _, public := reloadSites(t)
	e := startReload(t, sites)
	startCapture(t.Context(), t, e[0], warren.CaptureConfig{Tunnel: "wg", Duration: time.Millisecond}).end(t, "as long as was wanted")
	hand := startCapture(t.Context(), t, e[0], warren.CaptureConfig{Tunnel: "hand", Side: "sealed"})
	wg := startCapture(t.Context(), t, e[0], warren.CaptureConfig{Tunnel: "wg"})
	delete(sites[0].tunnels, "hand")
	sites[0].apply(t, e[0])
	hand.end(t, "the tunnel was removed")
	sites[0].tunnels["wg"] = byWireGuard(4, public[1], "", "51820")
	sites[0].apply(t, e[0])
	select {
	case <-wg.ended:
		t.Errorf("it ended: %+v", wg.report)
	case <-time.After(time.Second): // several looks at the tunnels
	}
	for cfg, want := range map[warren.CaptureConfig]string{
		{Tunnel: "hand"}:             `there is no tunnel "hand"; there are: ike wg`,
		{Tunnel: "wg", Side: "left"}: `side "left": there are clear, sealed and both`,
	} {
		if _, err := e[0].Capture(t.Context(), cfg, io.Discard); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", cfg, err, want)
		}
	}
	if r, err := e[0].Capture(t.Context(), warren.CaptureConfig{Tunnel: "wg"}, full{}); !errors.Is(err, errFull) {
		t.Errorf("to a full disk: %+v, %v", r, err)
	}
	if _, err := new(warren.Engine).Capture(t.Context(), warren.CaptureConfig{Tunnel: "wg"}, io.Discard); !errors.Is(err, warren.ErrNotUp) {
		t.Errorf("of an engine that is not up: %v", err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
