package warren

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/until"
	"github.com/warrenvpn/warren/routing/bfd"
	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
)

// TestLateNewsOfBFD: what is told of a way when it is watched no more, or was of a session before, leaves no tunnel dead.
func TestLateNewsOfBFD(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.2")
	r := router.New(router.Config{FIB: fib.New(fib.Options{}), Unreachable: 1})
	speaker, err := bgp.New(bgp.Config{Local: bgp.Local{AS: 65001, RouterID: 1}, Table: r})
	if err != nil {
		t.Fatal(err)
	}
	v := &vrf{name: "main", router: r, speaker: speaker}
	s := &site{log: slog.New(slog.DiscardHandler)}
	began := time.Now()
	down := bfd.Event{Peer: peer, At: began, Change: bfd.Change{From: bfd.Up, To: bfd.Down, Diag: bfd.DiagExpired, Remote: bfd.Up}}
	watching := func() (*watch, *tunnel) {
		tun := &tunnel{vrf: v, via: &route.Via{Name: "peer", Hop: 2}, troubles: map[string]bool{}}
		return &watch{ways: map[netip.Addr]*watched{peer: {name: "peer", tunnel: tun, since: began}}}, tun
	}

	w, tun := watching()
	s.seen(v, w, down)
	if len(tun.whyDead()) != 1 {
		t.Errorf("a dead way leaves the tunnel with troubles %q", tun.whyDead())
	}

	w, tun = watching()
	early := down
	early.At = began.Add(-time.Second)
	s.seen(v, w, early)
	if why := tun.whyDead(); len(why) != 0 {
		t.Errorf("the session before leaves the tunnel with troubles %q", why)
	}

	w, tun = watching()
	tun.mu.Lock()
	told := make(chan struct{})
	go func() { defer close(told); s.seen(v, w, down) }()
	until.True(t, "the news are about to be heeded", time.Minute, func() bool { return until.Waits("warren.(*tunnel).dead", "sync.Mutex.Lock") })
	w.forget(peer)
	tun.mu.Unlock()
	<-told
	if why := tun.whyDead(); len(why) != 0 {
		t.Errorf("a way that is watched no more leaves the tunnel with troubles %q", why)
	}
}
