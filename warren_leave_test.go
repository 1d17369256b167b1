package warren_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// TestWhyDown: the log of an engine that stops says that this is why its SAs go.
func TestWhyDown(t *testing.T) {
	network := sim.New(sim.Config{})
	startSite(t, network, ikeSite, 1)
	cfg, err := warren.ParseConfig("site.yaml", fmt.Appendf(nil, ikeSite, 1, 2, "0102030405060708090a0b0c0d0e0f10111213"))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer // the handler locks it, and it is read when the engine has gone
	e, err := warren.New(cfg, warren.WithNetwork(network), warren.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	err = ping(t, e, "10.2.0.1", patience)
	cancel()
	if ran := <-ended; err != nil || ran != nil {
		t.Fatal(err, ran)
	}
	down := 0
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, " is down") && strings.Contains(line, "reason=") {
			if down++; !strings.Contains(line, `reason="the engine stops"`) {
				t.Error(line)
			}
		}
	}
	if down != 2 {
		t.Errorf("%d SAs are down, want the IKE SA and its child:\n%s", down, log.String())
	}
}
