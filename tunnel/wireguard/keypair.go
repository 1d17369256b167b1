package wireguard

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.zx2c4.com/wireguard/replay"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

const (
	headerLen = handshake.TransportHeaderSize
	tagLen    = chacha20poly1305.Overhead
	// overhead is what a transport message adds to what it carries, in bytes.
	overhead = headerLen + tagLen

	// sendLimit is the first counter that is not sent. Workers may add to the counter at the same time before they see
	// that it is reached, each the segments of a super-packet at the most: the distance is more than all of them.
	sendLimit = handshake.RejectAfterMessages - 1<<24

	// windowSize is how far a counter may be behind the highest that came in.
	windowSize = 8128
)

// keypair is a session as workers need it: two halves, each with its key and with what workers share.
type keypair struct {
	peer   *Peer
	device *Device
	hs     *handshake.Keypair
	send   cipher.AEAD
	recv   cipher.AEAD
	remote uint32 // the index that the peer gave it
	// confirmed says that the peer is known to have the keys, or that it does not matter any more. Until then every run that
	// comes in by it promotes it. It is written under Peer.waiting.mu.
	confirmed atomic.Bool
	// trusted says that what comes in by it may move the peer's endpoint: it is current or newer.
	trusted atomic.Bool
	_       [40]byte

	// next is the next counter to send; sent is in bytes of messages.
	next atomic.Uint64
	sent atomic.Uint64
	_    [48]byte

	in inHalf
}

// inHalf is what receivers share: taken once a run.
type inHalf struct {
	mu       sync.Mutex
	any      bool
	top      uint64 // the highest counter that came in; meaningless before any
	received uint64 // bytes of messages
	filter   replay.Filter
}

func newKeypair(p *Peer, k *handshake.Keypair) *keypair {
	kp := &keypair{peer: p, device: p.device, hs: k, remote: k.RemoteIndex}
	kp.send, kp.recv = newAEAD(k.SendKey[:]), newAEAD(k.RecvKey[:])
	kp.confirmed.Store(k.Initiator)
	kp.trusted.Store(true)
	return kp
}

func newAEAD(key []byte) cipher.AEAD {
	a, err := chacha20poly1305.New(key)
	if err != nil {
		panic("wireguard: " + err.Error()) // the key's length is in its type
	}
	return a
}

// run is a reservation of consecutive counters by one worker.
type run struct {
	*keypair
	next uint64
	left int
}

// reserve takes n counters by one atomic operation; fewer, down to none, where they are used up.
func (k *keypair) reserve(n int) run {
	if k.next.Load() >= sendLimit {
		return run{keypair: k}
	}
	first := k.next.Add(uint64(n)) - uint64(n)
	r := run{keypair: k, next: first, left: n}
	if first+uint64(n) > sendLimit {
		r.left = 0
		if first < sendLimit {
			r.left = int(sendLimit - first)
		}
	}
	return r
}

// seal writes the message with the run's next counter to b: plain is what it carries, padding included, and stands in b
// behind headerLen bytes or elsewhere.
func (r *run) seal(s *scratch, b, plain []byte) {
	handshake.PutTransport(b, r.remote, r.next)
	binary.LittleEndian.PutUint64(s.nonce[4:], r.next)
	r.next++
	r.left--
	r.keypair.send.Seal(b[headerLen:headerLen], s.nonce[:], plain, nil)
}

// staleAfter is how far the counter may be ahead of one that has not left, by the doing of other workers, before its message
// gets a new one. It is half the peer's window, and the other half is for what happens on the way.
const staleAfter = windowSize / 2

// Renew implements dataplane.Numberer.
func (k *keypair) Renew(worker int, frames []dataplane.Frame, first uint64) {
	if k.next.Load() < first+staleAfter {
		return
	}
	s := k.device.worker(worker)
	r := k.reserve(len(frames))
	for i := range frames {
		if r.left == 0 {
			return
		}
		b := frames[i].Data
		binary.LittleEndian.PutUint64(s.nonce[4:], first+uint64(i))
		plain, err := k.send.Open(b[headerLen:headerLen], s.nonce[:], b[headerLen:], nil)
		if err != nil {
			panic("wireguard: Renew of a message that this keypair did not seal with that counter")
		}
		r.seal(s, b, plain)
	}
}
