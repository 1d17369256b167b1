package wireguard

import "sync/atomic"

// What a worker notes of a peer. Control looks some tens of times a second, at once where something is urgent.
const (
	noteSent      = 1 << iota // data went out
	noteReceived              // data came in
	noteKeepalive             // a keepalive came in
	noteConfirmed             // something came in by Peer.heard, which is not known to be confirmed
	noteWaits                 // a packet began to wait
	noteMoved                 // what came in came from elsewhere

	noteUrgent = noteConfirmed | noteWaits
)

// notes is the list of peers that something was noted of since control last looked: a stack that many push to and one takes
// as a whole.
type notes struct {
	head   atomic.Pointer[Peer]
	urgent atomic.Bool
}

// note adds bits to what is noted of the peer. Where they are noted already, which is most often, it only reads.
func (p *Peer) note(bits uint32) {
	if p.noted.Load()&bits == bits {
		return
	}
	d := p.device
	if p.noted.Or(bits) == 0 {
		// Nobody else pushes this peer until control has taken its notes.
		for {
			head := d.notes.head.Load()
			p.nextNoted = head
			if d.notes.head.CompareAndSwap(head, p) {
				if head == nil {
					d.wake()
				}
				break
			}
		}
	}
	if bits&noteUrgent != 0 {
		d.notes.urgent.Store(true)
		d.wake()
	}
}

// take empties the list, and calls f for each peer with what was noted of it.
func (n *notes) take(f func(p *Peer, bits uint32)) {
	for p := n.head.Swap(nil); p != nil; {
		next := p.nextNoted // another worker's from the Swap on
		p.nextNoted = nil
		f(p, p.noted.Swap(0))
		p = next
	}
}

func (n *notes) any() bool { return n.head.Load() != nil }
