package handshake

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/flynn/noise"
	"golang.zx2c4.com/wireguard/tai64n"
)

const prologue = "WireGuard v1 zx2c4 Jason@zx2c4.com"

var errUnknownPeer = errors.New("no peer has this static key")

// An identity is what comes from a device's private key. It does not change.
type identity struct {
	private PrivateKey
	public  PublicKey
	door    *doorman
}

func newIdentity(k PrivateKey) (*identity, error) {
	if k.IsZero() {
		return nil, fmt.Errorf("set the private key: %w", ErrNoKey)
	}
	public := k.Public()
	return &identity{private: k, public: public, door: newDoorman(public)}, nil
}

// An exchange is Noise's cipher suite for one handshake. It computes what the handshake needs and no more: a library that is
// given scalars as octets derives their public keys again each time, and does not know that the secret of the two static keys
// is the same in all handshakes of a peer. Its private keys are handles, so that Noise never holds a scalar.
type exchange struct {
	noise.CipherSuite
	id        *identity
	ephemeral PrivateKey
	public    PublicKey     // of ephemeral
	secret    [KeySize]byte // of the last exchange, which Noise has mixed in before the next
	// shared is the secret of the two static keys. For the responder it says also whether there is such a peer, before the
	// work for it is done.
	shared staticSecret
	// untilStatic counts down the exchanges with our static key: the initiator's first and the responder's second is the one
	// with the other's static key.
	untilStatic int
	hashes      [hashesAtOnce]hash.Hash
	hashed      int
}

// staticSecret gives the secret of our static key and another.
type staticSecret func(PublicKey) ([KeySize]byte, error)

// hashesAtOnce is how many hashes are in use at the same time at the most: two for each of the four HMACs of an HKDF.
const hashesAtOnce = 8

// Hash hands out the same few hashes in turn, since a handshake wants many and keeps none.
func (x *exchange) Hash() hash.Hash {
	h := &x.hashes[x.hashed%hashesAtOnce]
	x.hashed++
	if *h == nil {
		*h = x.CipherSuite.Hash()
	} else {
		(*h).Reset()
	}
	return *h
}

var (
	staticHandle    = []byte{'s'}
	ephemeralHandle = []byte{'e'}
	cipherSuite     = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)
)

// GenerateKeypair makes the ephemeral key of this handshake.
func (x *exchange) GenerateKeypair(io.Reader) (noise.DHKey, error) {
	x.ephemeral = NewPrivateKey()
	x.public = x.ephemeral.Public()
	return noise.DHKey{Private: ephemeralHandle, Public: x.public[:]}, nil
}

// DH is X25519. For a point of low order it returns random octets, not an error: on an error Noise would not take back what
// it has mixed in so far, and a forged response would end a handshake. With them the message fails as any forged one does.
func (x *exchange) DH(private, public []byte) (secret []byte, err error) {
	k := &x.ephemeral
	if private[0] == staticHandle[0] {
		k = &x.id.private
		if x.untilStatic--; x.untilStatic == 0 {
			x.secret, err = x.shared(PublicKey(public))
			return x.secret[:], err
		}
	}
	if multiply(&x.secret, k, public) != nil {
		_, _ = rand.Read(x.secret[:])
	}
	return x.secret[:], nil
}

// erase overwrites what is ours of the secrets of a handshake that is over.
func (x *exchange) erase() { clear(x.ephemeral[:]); clear(x.secret[:]) }

// state is a Noise handshake of WireGuard and its keys.
type state struct {
	*noise.HandshakeState
	x *exchange
}

func newState(x *exchange, initiator bool, remote []byte) (state, error) {
	x.CipherSuite = cipherSuite
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:           x,
		Pattern:               noise.HandshakeIK,
		PresharedKeyPlacement: 2,
		Prologue:              []byte(prologue),
		Initiator:             initiator,
		StaticKeypair:         noise.DHKey{Private: staticHandle, Public: x.id.public[:]},
		PeerStatic:            remote,
	})
	return state{hs, x}, err
}

// initiate begins a handshake with a peer.
func initiate(id *identity, to PublicKey, secret [KeySize]byte, at tai64n.Timestamp) (s state, out [noiseInitiate]byte, err error) {
	x := &exchange{id: id, untilStatic: 1, shared: func(PublicKey) ([KeySize]byte, error) { return secret, nil }}
	if s, err = newState(x, true, to[:]); err != nil {
		return s, out, err
	}
	_, _, _, err = s.WriteMessage(out[:0], at[:])
	return s, out, err
}

// readInitiation reads the first message. shared is asked for the secret that we share with whoever claims to have sent it.
func readInitiation(id *identity, in *[noiseInitiate]byte, shared staticSecret) (s state, at tai64n.Timestamp, err error) {
	if s, err = newState(&exchange{id: id, untilStatic: 2, shared: shared}, false, nil); err != nil {
		return s, at, err
	}
	payload, _, _, err := s.ReadMessage(nil, in[:])
	if err != nil {
		return s, at, err
	}
	copy(at[:], payload) // their sizes are the same: the message's size is fixed
	return s, at, nil
}

// transportKeys are the keys that a handshake has made.
type transportKeys struct{ send, receive [KeySize]byte }

// respond writes the second message.
func (s state) respond(psk PresharedKey) (out [noiseRespond]byte, k transportKeys, err error) {
	if err = s.SetPresharedKey(psk[:]); err != nil {
		return out, k, err
	}
	_, theirs, ours, err := s.WriteMessage(out[:0], nil)
	if err != nil {
		return out, k, err
	}
	return out, transportKeys{send: ours.UnsafeKey(), receive: theirs.UnsafeKey()}, nil
}

// readResponse reads the second message. A wrong one changes nothing: a right one may still come.
func (s state) readResponse(psk PresharedKey, in *[noiseRespond]byte) (k transportKeys, err error) {
	if err = s.SetPresharedKey(psk[:]); err != nil {
		return k, err
	}
	_, ours, theirs, err := s.ReadMessage(nil, in[:])
	if err != nil {
		return k, err
	}
	return transportKeys{send: ours.UnsafeKey(), receive: theirs.UnsafeKey()}, nil
}

// stampStep is the resolution of our timestamps. WireGuard leaves out the lower 24 bits of the nanoseconds, about 17 ms, so
// that a timestamp tells little about the clock.
const stampStep = 1 << 24

// stamp is the TAI64N label of a time.
func stamp(t time.Time) (l tai64n.Timestamp) {
	const epoch = 1<<62 + 10 // TAI64's label of 1970, with the 10 leap seconds that WireGuard counts
	binary.BigEndian.PutUint64(l[:], epoch+uint64(t.Unix()))
	binary.BigEndian.PutUint32(l[8:], uint32(t.Nanosecond())&^(stampStep-1))
	return l
}

// next is the smallest label of ours above l.
func next(l tai64n.Timestamp) tai64n.Timestamp {
	seconds, nanos := binary.BigEndian.Uint64(l[:]), binary.BigEndian.Uint32(l[8:])
	if nanos += stampStep; nanos >= uint32(time.Second) {
		seconds, nanos = seconds+1, 0
	}
	binary.BigEndian.PutUint64(l[:], seconds)
	binary.BigEndian.PutUint32(l[8:], nanos)
	return l
}

// EphemeralKeys are what Wireshark needs to decrypt the sessions of one of our ephemeral keys.
type EphemeralKeys struct {
	Static    PrivateKey
	Ephemeral PrivateKey
	Remote    PublicKey
	Preshared PresharedKey
}

// KeyLog is an entry of Wireshark's WireGuard key log. It is as secret as the traffic and the private key.
func (e EphemeralKeys) KeyLog() string {
	s := "LOCAL_STATIC_PRIVATE_KEY = " + e.Static.Base64() +
		"\nREMOTE_STATIC_PUBLIC_KEY = " + e.Remote.String() +
		"\nLOCAL_EPHEMERAL_PRIVATE_KEY = " + e.Ephemeral.Base64() + "\n"
	if !e.Preshared.IsZero() {
		s += "PRESHARED_KEY = " + e.Preshared.Base64() + "\n"
	}
	return s
}

// ephemeralKeys are the keys of a handshake with a peer.
func (s state) ephemeralKeys(remote PublicKey, psk PresharedKey) EphemeralKeys {
	return EphemeralKeys{
		Static: s.x.id.private, Ephemeral: s.x.ephemeral, Remote: remote, Preshared: psk,
	}
}
