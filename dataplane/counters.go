package dataplane

import (
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// Drops counts packets that went no further, by reason.
type Drops [packet.NumReasons]atomic.Uint64

func (d *Drops) snapshot() map[packet.Reason]uint64 {
	m := make(map[packet.Reason]uint64)
	for r := range d {
		if n := d[r].Load(); n > 0 {
			m[packet.Reason(r)] = n
		}
	}
	return m
}

// Counters count what one worker does. The worker adds once a batch or once a run; others may look at any time and see
// each number somewhat late, never torn.
type Counters struct {
	drops   Drops
	worker  int
	tunnels *tunnelTable
}

// Drop counts n packets that went no further, for the worker and, where tunnel is not 0, for the tunnel too.
func (c *Counters) Drop(r packet.Reason, tunnel uint32, n uint64) {
	c.drops[r].Add(n)
	if tunnel == 0 {
		return
	}
	if e := c.tunnels.get(tunnel); e != nil {
		e.drops[r].Add(n)
	}
}

// Out counts n clear packets of size bytes in all that were sealed for the tunnel.
func (c *Counters) Out(tunnel uint32, n, size uint64) {
	if e := c.tunnels.get(tunnel); e != nil {
		e.count(c.worker).out.Add(n, size)
	}
}

// In counts n clear packets of size bytes in all that came out of the tunnel.
func (c *Counters) In(tunnel uint32, n, size uint64) {
	if e := c.tunnels.get(tunnel); e != nil {
		e.count(c.worker).in.Add(n, size)
	}
}
