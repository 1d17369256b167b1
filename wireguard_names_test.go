package warren

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// TestRemovedPeersAreForgotten: of a peer that had a name to look up, and did not answer, nothing stays when it is removed.
func TestRemovedPeersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device, err := wireguard.New(wireguard.Options{PrivateKey: handshake.NewPrivateKey()})
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		d := &wgDevice{device: device, log: slog.New(slog.DiscardHandler), peers: map[handshake.PublicKey]*tunnel{},
			lookup: func(context.Context, string) ([]netip.Addr, error) { asked++; return nil, errors.New("no such host") }}
		public := handshake.NewPrivateKey().Public()
		peer := func() weak.Pointer[tunnel] {
			tun := &tunnel{cfg: &TunnelConfig{Name: "peer", WireGuard: &WireGuardPeerConfig{Endpoint: EndpointConfig{Name: "gw.example", Port: 51820}}},
				device: d, troubles: map[string]bool{notAnswering: true}}
			tun.peer, err = device.AddPeer(1, wireguard.PeerConfig{Name: "peer", PublicKey: public})
			if err != nil {
				t.Fatal(err)
			}
			d.peers[public] = tun
			return weak.Make(tun)
		}()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.watch(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if tun := peer.Value(); asked == 0 || tun == nil || tun.watched.tried.IsZero() {
			t.Errorf("the name was looked up %d times, and the peer tried: %v", asked, tun)
		}
		d.mu.Lock()
		d.peers[public].peer.Close()
		delete(d.peers, public)
		d.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		runtime.GC()
		if peer.Value() != nil {
			t.Error("a removed peer is still remembered")
		}
		was := asked
		time.Sleep(time.Minute)
		if synctest.Wait(); asked != was {
			t.Errorf("the name of a removed peer was looked up %d times more", asked-was)
		}
		cancel()
		<-done
	})
}
