package dataplane

import (
	"unsafe"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/prefetch"
	"github.com/warrenvpn/warren/routing/fib"
)

// A packet for a tunnel that has sent nothing for a while meets some fifteen cold cache lines, many behind each other. Where the
// packets of a batch go to many tunnels, those to come are asked for while others are sealed: apart is how many tunnels lie
// between the steps, of which the first is the entry in the plane's table.
const (
	fewTunnels = 4
	apart      = 4
	lead       = apart * (1 + PrefetchSteps)
)

// upcoming are the tunnels that a batch goes to, in the order of its packets.
type upcoming struct {
	entries [packet.MaxBatch]*tunnelEntry
	n, at   int
}

// find looks which they are, and begins with the first. Where they are few they are left alone.
func (u *upcoming) find(tunnels *tunnelTable, worker int, hops []fib.HopID) {
	u.n = 0
	last := fib.HopID(0)
	for _, hop := range hops {
		if hop == last {
			continue
		}
		last = hop
		if index, ok := HopTunnel(hop); ok {
			if e := tunnels.slot(index); e != nil {
				u.entries[u.n] = e
				u.n++
			}
		}
	}
	if u.n < fewTunnels {
		u.n = 0
		return
	}
	for u.at = -lead; u.at < 0; {
		u.advance(worker)
	}
}

// advance goes on by one tunnel: each step is taken for another of those ahead.
func (u *upcoming) advance(worker int) {
	if u.n == 0 {
		return
	}
	at := u.at + lead
	u.at++
	if at < u.n {
		prefetch.Span(unsafe.Pointer(u.entries[at]), unsafe.Offsetof(u.entries[at].local))
	}
	for step := range PrefetchSteps {
		if at -= apart; at < 0 {
			return
		}
		if at >= u.n {
			continue
		}
		e := u.entries[at]
		if step == 0 {
			prefetch.Of(&e.traffic[worker])
		}
		e.tunnel.Prefetch(step)
	}
}
