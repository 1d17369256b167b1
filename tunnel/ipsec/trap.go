package ipsec

import (
	"bytes"
	"slices"
	"sync"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// maxHeld is how many packets wait for one child SA, maxHeldBytes how many bytes of them: a TCP window's beginning.
const (
	maxHeld      = 32
	maxHeldBytes = 64 << 10
)

// trap takes the packets of a child SA that is not there yet. It is where a packet meets control, so it may take its time:
// it copies, under a lock.
type trap struct {
	name  string
	match *matcher
	hit   func()

	mu    sync.Mutex
	held  []dataplane.Held
	bytes int
}

// SetTrap has the tunnel keep packets that no child SA takes and these selectors cover, at most 32 of them or 64 KiB, and call
// hit for each of them. hit is called by workers: it must not wait. A trap of the same name is replaced, and what it holds is
// kept.
func (t *Tunnel) SetTrap(name string, local, remote []Selector, hit func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := &trap{name: name, match: newMatcher(local, remote), hit: hit}
	if i := slices.IndexFunc(t.traps, func(o *trap) bool { return o.name == name }); i >= 0 {
		tr.held, tr.bytes = t.traps[i].take()
		t.traps[i] = tr
	} else {
		t.traps = append(t.traps, tr)
	}
	t.publish()
}

// ClearTrap ends a trap and returns what it holds.
func (t *Tunnel) ClearTrap(name string) []dataplane.Held {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.traps, func(o *trap) bool { return o.name == name })
	if i < 0 {
		return nil
	}
	held, _ := t.traps[i].take()
	t.traps = slices.Delete(t.traps, i, i+1)
	t.publish()
	return held
}

// TakeHeld returns what a trap holds, and leaves the trap set.
func (t *Tunnel) TakeHeld(name string) []dataplane.Held {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.IndexFunc(t.traps, func(o *trap) bool { return o.name == name }); i >= 0 {
		held, _ := t.traps[i].take()
		return held
	}
	return nil
}

// Trapping names the trap that takes a packet outbound which no child SA covers, "" if there is none.
func (t *Tunnel) Trapping(i *wire.Info) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tr := range t.traps {
		if tr.match.outbound(i) {
			return tr.name
		}
	}
	return ""
}

func (tr *trap) take() (held []dataplane.Held, size int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	held, size = tr.held, tr.bytes
	tr.held, tr.bytes = nil, 0
	return held, size
}

// hold keeps a copy of a packet, or sets its Drop where enough are kept.
func (tr *trap) hold(p *packet.Packet) {
	tr.mu.Lock()
	full := len(tr.held) == maxHeld || tr.bytes+p.Len > maxHeldBytes && len(tr.held) > 0
	if !full {
		tr.held = append(tr.held, dataplane.Held{Data: bytes.Clone(p.Bytes()), Offload: p.Offload, Ingress: p.Ingress, Offered: true})
		tr.bytes += p.Len
	}
	tr.mu.Unlock()
	if full {
		p.Drop = packet.WaitingFull
	}
	tr.hit()
}

// trapped gives packets without a child SA to the traps, and refuses the others for the reason r.
func (o *outbound) trapped(pkts []packet.Packet, r packet.Reason) (refused int) {
	for i := range pkts {
		p := &pkts[i]
		if p.Drop != packet.None {
			refused++
			continue
		}
		p.Drop = r
		for _, tr := range o.traps {
			if tr.match.outbound(&p.Info) {
				p.Drop = packet.None
				tr.hold(p)
				break
			}
		}
		if p.Drop != packet.None {
			refused++
		}
	}
	return refused
}
