package warren_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane"
)

var errBroken = errors.New("out of order")

// brokenNetwork has no underlays.
type brokenNetwork struct{}

func (brokenNetwork) Underlay(netip.AddrPort, int) (dataplane.Underlay, error) { return nil, errBroken }

// TestNil: what is nil where it should not be is an error that says so, and where it means nothing, nothing.
func TestNil(t *testing.T) {
	cfg, _ := twoSites()
	if _, err := warren.New(nil); err == nil || !strings.Contains(err.Error(), "configuration is nil") {
		t.Errorf("New without configuration: %v", err)
	}
	e, err := warren.New(cfg, nil, warren.WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(nil); err == nil || !strings.Contains(err.Error(), "configuration is nil") {
		t.Errorf("Apply without configuration: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg.Underlay = warren.UnderlayConfig{Addresses: []netip.Addr{loopback()}, UDPPort: freePort(t)}
	cfg.Tunnels[0].IPsec.Remote = netip.MustParseAddr("127.0.0.2")
	if e, err = warren.New(cfg, warren.WithLogger(nil)); err != nil {
		t.Fatal(err)
	}
	if err := e.Run(ctx); err != nil { // logs that it is up
		t.Errorf("Run without logger: %v", err)
	}
	var zero warren.Engine
	if err := zero.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "not made by New") {
		t.Errorf("an engine that New has not made: %v", err)
	}
}

// TestNobodyRunsIt: whoever waits for an engine that nobody runs, or that could not start, is told so in the end, also with a context
// that never ends.
func TestNobodyRunsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _ := twoSites()
		e, err := warren.New(cfg, warren.WithNetwork(brokenNetwork{}))
		if err != nil {
			t.Fatal(err)
		}
		uses := map[string]func() error{
			"dial":         func() error { _, err := e.DialContext(context.Background(), "tcp", "10.2.0.1:80"); return err },
			"listen":       func() error { _, err := e.Listen("tcp", "10.1.0.1:80"); return err },
			"packets":      func() error { _, err := e.ListenPacket("udp", "10.1.0.1:80"); return err },
			"ping":         func() error { _, err := e.Ping(context.Background(), netip.MustParseAddr("10.2.0.1")); return err },
			"forward":      func() error { _, err := e.Forward(context.Background(), warren.ForwardConfig{}); return err },
			"take it down": func() error { return e.Down(context.Background(), "peer", "") },
		}
		for name, use := range uses {
			if err := use(); !errors.Is(err, warren.ErrNotUp) {
				t.Errorf("%s before Run: %v", name, err)
			}
		}
		if err := e.Run(t.Context()); !errors.Is(err, errBroken) {
			t.Fatalf("Run: %v", err)
		}
		delete(uses, "take it down") // it waits for nobody, and so cannot know
		for name, use := range uses {
			if err := use(); !errors.Is(err, warren.ErrNotUp) || !errors.Is(err, errBroken) {
				t.Errorf("%s after Run has failed: %v", name, err)
			}
		}
	})
}
