package dataplane

import (
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/prefetch"
	"github.com/warrenvpn/warren/routing/fib"
)

// A packet for a tunnel that has sent nothing for a while meets some fifteen cold cache lines, many behind each other. Where the
// packets of a batch go to many tunnels, those to come are asked for while others are sealed, in two steps: the entry in the
// plane's table with its list, and then what is on the list. apart is how many tunnels lie between the steps, and between the
// second and its use.
const (
	fewTunnels = 4
	apart      = 4
	lead       = 2 * apart
)

// upcoming are the tunnels that a batch goes to, in the order of its packets.
type upcoming struct {
	entries [packet.MaxBatch]*tunnelEntry
	n, at   int
}

// find looks which they are, and begins with the first.
func (u *upcoming) find(tunnels *tunnelTable, worker int, hops []fib.HopID) {
	if u.collect(tunnels, hops); u.n == 0 {
		return
	}
	for u.at = -lead; u.at < 0; {
		u.advance(worker)
	}
}

// collect takes the tunnels of a batch, none where they are few.
func (u *upcoming) collect(tunnels *tunnelTable, hops []fib.HopID) {
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
	}
}

// advance goes on by one tunnel: each step is taken for another of those ahead.
func (u *upcoming) advance(worker int) {
	entry, near := u.next()
	if entry != nil {
		prefetch.Of(entry).Ask()
	}
	if near != nil {
		prefetch.Of(near.count(worker)).Ask()
		near.near.Ask()
	}
}

// next returns for which tunnels the first and the second step is due, nil for none.
func (u *upcoming) next() (entry, near *tunnelEntry) {
	at := u.at + lead
	u.at++
	if at < u.n {
		entry = u.entries[at]
	}
	if at -= apart; at >= 0 && at < u.n {
		near = u.entries[at]
	}
	return entry, near
}
