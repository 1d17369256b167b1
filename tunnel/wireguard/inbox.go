package wireguard

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

const (
	// inboxSize is how many handshake messages may wait. With an eighth of them the device is under load, and stays so for
	// loadLasts after.
	inboxSize = 512
	loadAt    = inboxSize / 8
	loadLasts = time.Second

	// wasteAt is how many messages may come to nothing in loadLasts before the device is under load too. To find that an initiation
	// is a repetition takes a third of what an answer does, which a flood of them could have us do all the time without ever
	// making others wait; and a flood that is refused by cookies, which is quick, is a flood still.
	wasteAt = 256
)

// message is a copy of a handshake message.
type message struct {
	underlay dataplane.Underlay
	from     netip.AddrPort
	by       handshake.Knock
	n        uint8
	bytes    [handshake.InitiationSize]byte // which is the longest
}

// inbox is the queue of handshake messages from the workers to the handshakers. It wakes one handshaker for each message while there
// is no load, so that all processors are at work. Under load one is enough until there is a batch for another: what comes then is
// mostly a flood, and to wake somebody takes longer than to refuse a message. A handshaker even rests then until a batch has
// come together, as network adapters do.
type inbox struct {
	ready chan struct{} // has room for one: there is something for a handshaker that sleeps

	mu          sync.Mutex
	ring        [inboxSize]message
	first, n    int
	awake       int       // handshakers
	loadedUntil time.Time // under load until then
	loaded      bool      // as of the last take
	wasted      int       // messages that came to nothing since wastedFrom
	wastedFrom  time.Time
}

// put copies a message into the queue, if there is room.
func (q *inbox) put(u dataplane.Underlay, from netip.AddrPort, by handshake.Knock, b []byte) bool {
	q.mu.Lock()
	if q.n == inboxSize {
		q.mu.Unlock()
		return false
	}
	m := &q.ring[(q.first+q.n)%inboxSize]
	m.underlay, m.from, m.by = u, from, by
	m.n = uint8(copy(m.bytes[:], b))
	q.n++
	wake := q.forAnother()
	q.mu.Unlock()
	if wake {
		q.wake()
	}
	return true
}

// forAnother says whether a handshaker more should be awake. The caller holds mu.
func (q *inbox) forAnother() bool {
	return q.n > 0 && (q.awake == 0 || !q.loaded || q.n >= handleAtOnce)
}

func (q *inbox) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// await sleeps until there is something for another handshaker, and says whether there is, or ctx has ended.
func (q *inbox) await(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-q.ready:
	}
	q.mu.Lock()
	q.awake++
	q.mu.Unlock()
	return true
}

// mayRest says whether a handshaker may rest before it goes on.
func (q *inbox) mayRest(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return now.Before(q.loadedUntil) && q.n < handleAtOnce
}

// finish is called by a handshaker that has found the queue empty. It says whether the handshaker is to await more; if not, there is
// something by now, or there will be when it has rested: it is the last, did something, and that under load.
func (q *inbox) finish(did bool) (await bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n > 0 || did && q.loaded && q.awake == 1 {
		return false
	}
	q.awake--
	return true
}

// waste is told that n messages came to nothing.
func (q *inbox) waste(now time.Time, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.wastedFrom) >= loadLasts {
		q.wasted, q.wastedFrom = 0, now
	}
	if q.wasted += n; q.wasted >= wasteAt {
		q.loadedUntil = now.Add(loadLasts)
	}
}

// take copies the oldest message to m, and says whether there was one and whether there are more of them than can be worked on
// (paper, section 5.3).
func (q *inbox) take(now time.Time, m *message) (loaded, ok bool) {
	q.mu.Lock()
	if q.n == 0 {
		q.mu.Unlock()
		return false, false
	}
	from := &q.ring[q.first]
	*m = *from
	from.underlay, from.by = nil, handshake.Knock{} // which may be gone before it comes to be overwritten
	q.first = (q.first + 1) % inboxSize
	if q.n--; q.n >= loadAt {
		q.loadedUntil = now.Add(loadLasts)
	}
	q.loaded = now.Before(q.loadedUntil)
	loaded = q.loaded
	wake := q.forAnother()
	q.mu.Unlock()
	if wake {
		q.wake()
	}
	return loaded, true
}
