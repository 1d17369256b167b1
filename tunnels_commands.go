package warren

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike"
)

// Up brings up a tunnel whose keys are negotiated, or with a name one child of it. It returns when that has begun.
func (e *Engine) Up(ctx context.Context, tunnel, child string) error {
	return e.negotiate(ctx, "up", tunnel, child)
}

// Down ends a tunnel's SAs, or with a name one child of it. With keys given by hand it stays down until the engine is run
// again: no route leads to it, packets that only it could carry are refused with an ICMP error, and other tunnels with the same
// prefixes take over. A tunnel whose keys are negotiated comes back as it is configured: by the peer, by a packet, or by Up.
func (e *Engine) Down(ctx context.Context, tunnel, child string) error {
	return e.negotiate(ctx, "down", tunnel, child)
}

// Rekey makes new keys for a tunnel's IKE SA, or with a name for one child of it.
func (e *Engine) Rekey(ctx context.Context, tunnel, child string) error {
	return e.negotiate(ctx, "rekey", tunnel, child)
}

func (e *Engine) command(ctx context.Context, what, tunnel, child string) error {
	switch what {
	case "up", "down", "rekey":
		return e.negotiate(ctx, what, tunnel, child)
	}
	return fmt.Errorf("%q is no command for a tunnel; there are up, down and rekey", what)
}

// takenDown is why nothing is routed into a tunnel that a user wanted down.
const takenDown = "taken down"

func (e *Engine) negotiate(ctx context.Context, what, name, child string) error {
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	if s == nil {
		return ErrNotUp
	}
	for _, t := range slices.Concat(s.allTunnels(), s.templates) {
		switch {
		case t.cfg.Name != name:
		case t.peer != nil && child == "":
			return t.shakeHands(what)
		case t.peer != nil:
			return fmt.Errorf("%s tunnel %q: WireGuard has no children, and so no %q", what, name, child)
		case t.cfg.IPsec.IKE != nil && t.client == "":
			return s.keying.command(ctx, what, name, child)
		case t.cfg.IPsec.Static != nil && what == "down" && child == "":
			t.dead(takenDown) // fail closed: what belonged to it is protected
			t.vrf.router.SetUp(t.link, false)
			t.ipsec.Close()
			s.log.Info("tunnel was taken down", "tunnel", name)
			return nil
		case t.client != "":
			return fmt.Errorf("%s tunnel %q: it is a client's; name the tunnel that it came by", what, name)
		case slices.Contains(t.whyDead(), takenDown):
			return fmt.Errorf("%s tunnel %q: it was taken down, and its keys, which are given by hand, stay away until the engine is run again", what, name)
		default:
			return fmt.Errorf("%s tunnel %q: its keys are given by hand", what, name)
		}
	}
	return fmt.Errorf("there is no tunnel %q", name)
}

// command does what a user wants of a tunnel.
func (k *keying) command(ctx context.Context, what, tunnel, child string) error {
	return k.call(ctx, func(now time.Time) ([]ike.Action, error) {
		switch what {
		case "up":
			return k.endpoint.Initiate(now, tunnel, child)
		case "down":
			return k.endpoint.Terminate(now, tunnel, child)
		}
		return k.endpoint.Rekey(now, tunnel, child)
	})
}
