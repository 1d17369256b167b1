package warren_test

import (
	"bytes"
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
	var log bytes.Buffer // the handler locks it, and it is read when the engine has gone
	e, stop := start(t, siteConfig(t, ikeSite, 0), warren.WithNetwork(network), warren.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	err := ping(t, e, "10.2.0.1", patience)
	stop()
	if err != nil {
		t.Fatal(err)
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
