package ike

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Credentials authenticate us to a peer and the peer to us. They are asked by the goroutine that owns the Endpoint and must
// not block: no file, no network.
type Credentials interface {
	// LocalID is the identity that we show.
	LocalID() message.ID
	// IsLocalID says whether an initiator that asks for an identity means us: names that are spelt or encoded in another way
	// are the same. We then show the identity that it asks for.
	IsLocalID(id message.ID) bool
	// RemoteID is the identity that an initiator asks the responder for; false to ask for none.
	RemoteID() (id message.ID, ok bool)
	// AcceptsID says whether an identity may be the peer's at all, before anything is proved: the error says which was
	// offered and which was wanted. A responder chooses its configuration by it.
	AcceptsID(id message.ID) error
	// Requests are the CERTREQ payloads that tell the peer which authorities are trusted; none with a PSK.
	Requests() []*message.CertReq
	// Sign proves our identity: the AUTH payload and the certificates that go with it.
	Sign(Proof) (*message.Auth, []*message.Cert, error)
	// Verify checks the peer's proof of the identity id, which AcceptsID accepted.
	Verify(id message.ID, auth *message.Auth, certs []*message.Cert, p Proof) error
}

// A Proof is what an AUTH payload is about.
type Proof struct {
	PRF    crypto.PRFID
	Octets []byte // what is signed (RFC 7296 section 2.15)
	// Peer is the peer's identity where it is known: to a responder always, to an initiator when it verifies.
	Peer message.ID
	// PeerHashes and PeerRequests are what the peer told in SIGNATURE_HASH_ALGORITHMS and CERTREQ; they matter to Sign.
	PeerHashes   []crypto.HashID
	PeerRequests []*message.CertReq
}

// PSK authenticates both sides by one secret (RFC 7296 section 2.15).
type PSK struct {
	Secret Secret
	Local  message.ID
	// Remote is the only identity that the peer may have; with a Type of zero it may have any.
	Remote message.ID
}

var errWrongSecret = errors.New("the shared secrets of the two sides differ")

// LocalID implements Credentials.
func (p *PSK) LocalID() message.ID { return p.Local }

// IsLocalID implements Credentials.
func (p *PSK) IsLocalID(id message.ID) bool { return p.Local.Equal(id) }

// RemoteID implements Credentials.
func (p *PSK) RemoteID() (message.ID, bool) { return p.Remote, p.Remote.Type != 0 }

// AcceptsID implements Credentials.
func (p *PSK) AcceptsID(id message.ID) error {
	if p.Remote.Type == 0 || p.Remote.Equal(id) {
		return nil
	}
	return fmt.Errorf("identity: offered %v (%v), wanted %v (%v)", id, id.Type, p.Remote, p.Remote.Type)
}

// Requests implements Credentials: there are none.
func (p *PSK) Requests() []*message.CertReq { return nil }

// Sign implements Credentials.
func (p *PSK) Sign(proof Proof) (*message.Auth, []*message.Cert, error) {
	return &message.Auth{Method: message.AuthSharedKey, Data: crypto.SharedKey(proof.PRF, p.Secret, proof.Octets)}, nil, nil
}

// Verify implements Credentials.
func (p *PSK) Verify(_ message.ID, auth *message.Auth, _ []*message.Cert, proof Proof) error {
	if auth.Method != message.AuthSharedKey {
		return fmt.Errorf("authentication method: offered %v, wanted %v", auth.Method, message.AuthSharedKey)
	}
	if !crypto.VerifySharedKey(proof.PRF, p.Secret, proof.Octets, auth.Data) {
		return errWrongSecret
	}
	return nil
}

// AuthPayload returns the payload for what crypto.Sign gave.
func AuthPayload(method crypto.AuthMethod, data []byte) *message.Auth {
	auth := &message.Auth{Method: message.AuthMethod(method), Data: data}
	if auth.Method == message.AuthDigitalSignature && len(data) > 0 && len(data) > int(data[0]) {
		auth.Algorithm, auth.Data = data[1:1+int(data[0])], data[1+int(data[0]):]
	}
	return auth
}

// AuthData returns a payload's method and data as crypto.Verify takes them.
func AuthData(auth *message.Auth) (crypto.AuthMethod, []byte) {
	if auth.Method != message.AuthDigitalSignature {
		return crypto.AuthMethod(auth.Method), auth.Data
	}
	data := bytes.Join([][]byte{{byte(len(auth.Algorithm))}, auth.Algorithm, auth.Data}, nil)
	return crypto.AuthMethod(auth.Method), data
}
