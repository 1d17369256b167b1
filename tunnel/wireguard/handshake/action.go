package handshake

import (
	"fmt"
	"net/netip"
	"time"
)

// A Keypair is the two keys of a session. The fields but the keys do not change.
type Keypair struct {
	// SendKey and RecvKey are keys of ChaCha20-Poly1305. They are there until the Keypair is erased, and are for whoever
	// carries out the actions: a worker has ciphers made of them.
	SendKey, RecvKey [KeySize]byte
	// LocalIndex is the receiver in messages that come in, RemoteIndex in those that go out.
	LocalIndex, RemoteIndex uint32
	// Initiator says that we began the handshake.
	Initiator bool
	// Created is when the session was made. RejectAfterTime later it is erased.
	Created time.Time
}

// String tells all but the keys.
func (k *Keypair) String() string {
	return fmt.Sprintf("keypair %#x to %#x, initiator %t, of %v", k.LocalIndex, k.RemoteIndex, k.Initiator, k.Created)
}

func (k *Keypair) erase() { clear(k.SendKey[:]); clear(k.RecvKey[:]) }

// Keypairs are a peer's sessions; any of them may be nil. Packets go out by Current only. They may come in by any: by Previous
// because they were late, by Next because the initiator begins. Next is a session that we answered and that the initiator has
// not used yet; when a packet comes in by it, Received makes it Current. Crossed is the other of two
// sessions that were made at the same time: the peer may send by it, but it does not become Current.
type Keypairs struct {
	Previous, Current, Next, Crossed *Keypair
}

func (k *Keypairs) all() [4]*Keypair { return [...]*Keypair{k.Previous, k.Current, k.Next, k.Crossed} }

// An Action is what the machine wants done, or what it says has happened. They are carried out in order.
type Action interface{ action() }

// The actions.
type (
	// Send asks for a handshake message to be sent.
	Send struct {
		// Peer is nil for a cookie reply.
		Peer *Peer
		// To is where to. Where it is not valid, the peer's endpoint is meant, and without one nothing is sent.
		To netip.AddrPort
		// Bytes may be kept.
		Bytes []byte
	}

	// Rotate says that a peer's keypairs are others than before. All that comes and goes from now on goes by these. Where
	// Current is a new one, the packets that wait for a session are to be sent.
	Rotate struct {
		Peer     *Peer
		Keypairs Keypairs
	}

	// Erase says that a keypair is in use no more. It comes after the Rotate without it. Its keys are overwritten already, and
	// its index was released.
	Erase struct {
		Peer    *Peer
		Keypair *Keypair
	}

	// SendKeepalive asks for an empty transport message by the Current keypair.
	SendKeepalive struct {
		Peer *Peer
		// Confirm says that it is to show the responder that we have the keys. It is not needed where a packet that waited was
		// sent by them already.
		Confirm bool
	}

	// Roam says that an authenticated handshake message came from here: it is the peer's endpoint now.
	Roam struct {
		Peer *Peer
		From netip.AddrPort
	}

	// GiveUp says that no session came about in RekeyAttemptTime. Packets that wait for one are to be dropped.
	GiveUp struct{ Peer *Peer }
)

func (Send) action()          {}
func (Rotate) action()        {}
func (Erase) action()         {}
func (SendKeepalive) action() {}
func (Roam) action()          {}
func (GiveUp) action()        {}

// A Drop says why a handshake message was not accepted. None is for those that were.
type Drop uint8

// The reasons.
const (
	None         Drop = iota
	BadMessage        // not a handshake message of the right size
	BadMAC1           // the sender does not know our public key
	NeedsCookie       // under load, and it carries no cookie of ours: it was sent a cookie reply
	RateLimited       // under load, or more than 50 initiations of a peer in a second
	BadHandshake      // it does not decrypt: garbage, or another pre-shared key
	UnknownPeer       // an initiation of a static key that no peer has
	Replayed          // an initiation that is not newer than the last
	UnknownIndex      // it answers no message of ours
	BadCookie         // a cookie reply that is not to our last message
	Stale             // the peer or the private key went while it was worked on
	drops
)

// Drops is how many reasons there are, for arrays of counters.
const Drops = int(drops)

// String is the reason in words, as status shows it.
func (d Drop) String() string {
	names := [Drops]string{"none", "bad message", "bad mac1", "needs cookie", "rate limited", "bad handshake", "unknown peer",
		"replayed", "unknown index", "bad cookie", "stale"}
	if d < drops {
		return names[d]
	}
	return "unknown"
}
