package warren

import (
	"slices"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/internal/deadline"
)

// heldBack are packets that a trap caught and whose child SA is up, but perhaps not yet at the peer.
type heldBack struct {
	tunnel *tunnel
	held   []dataplane.Held
	due    time.Time
}

// answerTime is how long the peer may take, once it has our answer, to install the child SA that it asked for. What is sealed
// sooner overtakes the answer inside the peer, which does not know the SPI yet.
const answerTime = 50 * time.Millisecond

// release sends on what waited for a child SA. Where the peer made the child that is a little later: then both sides began at
// once, since nothing waits otherwise.
func (k *keying) release(t *tunnel, held []dataplane.Held, byUs bool) {
	switch {
	case len(held) == 0:
	case byUs:
		k.inject(t, held)
	default:
		k.back = append(k.back, heldBack{t, held, time.Now().Add(answerTime)})
	}
}

// releaseLate sends on what a trap caught after the child came up: behind what is held back.
func (k *keying) releaseLate(t *tunnel, held []dataplane.Held) {
	for i := range k.back {
		if b := &k.back[i]; b.tunnel == t {
			b.held = append(b.held, held...)
			return
		}
	}
	k.release(t, held, true)
}

// releaseDue sends on what was held back for long enough.
func (k *keying) releaseDue(now time.Time) {
	for len(k.back) > 0 && !k.back[0].due.After(now) {
		b := k.back[0]
		k.back = k.back[1:]
		k.inject(b.tunnel, b.held)
	}
}

// forgetHeld lets go what was held back for a tunnel that goes: its index may be another's soon.
func (k *keying) forgetHeld(t *tunnel) {
	k.back = slices.DeleteFunc(k.back, func(b heldBack) bool { return b.tunnel == t })
}

func (k *keying) inject(t *tunnel, held []dataplane.Held) {
	if err := k.s.plane.Inject(t.index, held); err != nil {
		k.log.Error("packets that waited are lost", "tunnel", t.cfg.Name, "packets", len(held), "error", err)
	}
}

// deadline is when something is due; the zero time if nothing waits.
func (k *keying) deadline() time.Time {
	if len(k.back) == 0 {
		return k.endpoint.Deadline()
	}
	return deadline.Earliest(k.endpoint.Deadline(), k.back[0].due)
}
