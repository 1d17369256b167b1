package wireguard

import (
	"context"
	"net/netip"
	"runtime"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

const (
	// handleAtOnce is how many messages of no use, which take no time, are handled together: under a flood most of them earn a
	// cookie.
	handleAtOnce = 32
	// restFor is how long a handshaker lets a batch come together under load.
	restFor = time.Millisecond
)

// hands are a handshaker's: messages that are handled together.
type hands struct {
	d       *Device
	rest    *time.Timer
	all     [handleAtOnce]handling
	replies [handleAtOnce][handshake.CookieReplySize]byte
}

// handling is a handshake message on which the work was done that needs no order.
type handling struct {
	message
	ready handshake.Prepared
	path  dataplane.Path // back
}

// shakeHands works on handshake messages. What takes long of it is done without holding the machine.
func (d *Device) shakeHands(ctx context.Context) {
	h := &hands{d: d, rest: time.NewTimer(time.Hour)}
	defer h.rest.Stop()
	for d.inbox.await(ctx) {
		for did := true; !d.inbox.finish(did); {
			if d.inbox.mayRest(d.now()) && !h.sleep(ctx) {
				return
			}
			for did = false; h.work(); did = true {
				runtime.Gosched() // a worker that comes back from a system call gets the processor before the next message does
			}
		}
	}
}

// sleep rests, and says whether there is more to do after.
func (h *hands) sleep(ctx context.Context) bool {
	h.rest.Reset(restFor)
	select {
	case <-ctx.Done():
		return false
	case <-h.rest.C:
		return true
	}
}

// work handles messages, and says whether there were any. One that is of use is not made to wait for others.
func (h *hands) work() bool {
	n := 0
	for n < len(h.all) && (n == 0 || h.all[n-1].ready.Drop() != handshake.None) {
		m, now := &h.all[n], h.d.now()
		loaded, ok := h.d.inbox.take(now, &m.message)
		if !ok {
			break
		}
		m.ready = h.d.hs.Prepare(now, m.bytes[:m.n], m.from, loaded, m.by)
		n++
	}
	if n > 0 {
		h.commit(h.all[:n])
	}
	return n > 0
}

func (h *hands) commit(all []handling) {
	d := h.d
	d.mu.Lock()
	now := d.now() // which may only go forward, so it is taken by who owns the machine
	wasted := 0
	for i := range all {
		m := &all[i]
		if m.ready.Drop() != handshake.None {
			wasted++
		}
		drop := handshake.Stale
		switch {
		case !d.serves(m.underlay):
		case m.ready.Drop() == handshake.NeedsCookie:
			drop = handshake.NeedsCookie
			h.refuse(i)
		default:
			d.via, d.inHand = m.underlay, &m.message
			drop = d.hs.Commit(now, m.ready)
			d.carryOut()
		}
		d.drops[drop].Add(1)
	}
	d.via, d.inHand = nil, nil
	d.flush()
	d.unlock()
	if wasted > 0 {
		d.inbox.waste(now, wasted)
	}
	clear(all)
}

// refuse lets the next flush send a cookie reply. The caller holds mu.
func (h *hands) refuse(i int) {
	m := &h.all[i]
	b, to := m.ready.Refusal(h.replies[i][:0])
	h.d.unsent = append(h.d.unsent, dataplane.Frame{Data: b, Path: h.pathBack(m, to), TOS: handshakeTOS})
}

// pathBack is the path back to where a message came from. Many from there, as in a flood, have one path, so that what they earn can
// leave together.
func (h *hands) pathBack(m *handling, to netip.AddrPort) *dataplane.Path {
	if n := len(h.d.unsent); n > 0 {
		if last := h.d.unsent[n-1].Path; last.Underlay == m.underlay && last.Remote == to {
			return last
		}
	}
	m.path = dataplane.Path{Underlay: m.underlay, Remote: to}
	return &m.path
}
