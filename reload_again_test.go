package warren

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike"
)

// busyIKE is a site whose machine of IKE does nothing until it is released.
func busyIKE(t *testing.T) (e *Engine, cfg *Config, release func()) {
	t.Helper()
	cfg, err := ParseConfig("site.yaml", []byte(`
underlay: {addresses: [192.0.2.1]}
vrfs:
  main: {}
tunnels:
  one: {ipsec: {remote: 192.0.2.2, psk: "PSK-OF-THE-FIRST", start_action: trap}, routes: [10.2.0.0/24]}
  two: {ipsec: {remote: 192.0.2.3, psk: "PSK-OF-THE-SECOND", start_action: trap}, routes: [10.3.0.0/24]}
`))
	if err != nil {
		t.Fatal(err)
	}
	e = wgRunning(t, cfg)
	busy := make(chan struct{})
	called := make(chan error, 1)
	go func() {
		called <- e.site.keying.call(t.Context(), func(time.Time) ([]ike.Action, error) { <-busy; return nil, nil })
	}()
	synctest.Wait()
	return e, cfg, func() {
		close(busy)
		if err := <-called; err != nil {
			t.Error(err)
		}
	}
}

// tunnelNames are those that the status tells of.
func tunnelNames(e *Engine) (names []string) {
	for _, s := range e.Status().Tunnels {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// TestApplyWhileIKEIsBusy: where key exchange does not answer nothing is applied, and all of it by the next reload.
func TestApplyWhileIKEIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, cfg, release := busyIKE(t)
		fewer := *cfg
		fewer.Tunnels = cfg.Tunnels[:1]
		if err := e.Apply(&fewer); err == nil || !strings.Contains(err.Error(), "nothing was applied") {
			t.Errorf("key exchange is busy: %v", err)
		}
		if names := tunnelNames(e); !slices.Equal(names, []string{"one", "two"}) {
			t.Errorf("nothing is applied, and there are %q", names)
		}
		release()
		if err := e.Apply(&fewer); err != nil {
			t.Error(err)
		}
		if names := tunnelNames(e); !slices.Equal(names, []string{"one"}) {
			t.Errorf("applied again: there are %q", names)
		}
	})
}

// TestForgetKeysLater: a tunnel that is gone while key exchange does not answer is forgotten by it with the next reload, and can come
// again.
func TestForgetKeysLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, cfg, release := busyIKE(t)
		r := &reload{site: e.site, engine: e, changes: new(changes)}
		e.site.changing.Lock()
		err := r.removeTunnel(e.site.allTunnels()[0])
		e.site.changing.Unlock()
		if err == nil {
			t.Error("key exchange is busy, and a tunnel is forgotten")
		}
		release()
		fewer := *cfg
		fewer.Tunnels = cfg.Tunnels[1:]
		for _, c := range []*Config{&fewer, cfg} {
			if err := e.Apply(c); err != nil {
				t.Errorf("with %d tunnels: %v", len(c.Tunnels), err)
			}
		}
		if names := tunnelNames(e); !slices.Equal(names, []string{"one", "two"}) {
			t.Errorf("there are %q", names)
		}
	})
}
