package auth

import (
	"fmt"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Config is how we and a peer authenticate each other. What it points to must not be changed afterwards.
type Config struct {
	Local  Local
	Remote Remote
	// Now is the clock by which certificates and CRLs are valid; time.Now if nil.
	Now func() time.Time
}

// Credentials authenticate us to a peer, and the peer to us, as package ike asks for it.
type Credentials struct {
	local   Local
	remote  Remote
	now     func() time.Time
	localID message.ID
}

var _ ike.Credentials = (*Credentials)(nil)

// New checks a configuration.
func New(c Config) (*Credentials, error) {
	cr := &Credentials{local: c.Local, remote: c.Remote, now: c.Now}
	if cr.now == nil {
		cr.now = time.Now
	}
	if err := cr.local.check(); err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	if err := cr.remote.check(); err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	var err error
	if cr.localID, err = cr.local.ID.Payload(); err != nil {
		return nil, fmt.Errorf("authentication: our identity: %w", err)
	}
	return cr, nil
}

func proofOf(p ike.Proof) proof { return proof{p.PRF, p.Octets, p.PeerHashes, p.PeerRequests} }

// LocalID implements ike.Credentials.
func (c *Credentials) LocalID() message.ID { return c.localID }

// IsLocalID says whether a peer that asks for an identity means us: names and distinguished names are compared as such, for
// there are several ways to write or encode each. Where our identity is not configured any that our certificate has is ours.
func (c *Credentials) IsLocalID(p message.ID) bool {
	id, err := OfPayload(p)
	return err == nil && c.local.is(id)
}

// RemoteID implements ike.Credentials: the peer's identity unless it is a pattern.
func (c *Credentials) RemoteID() (message.ID, bool) {
	id, err := c.remote.ID.Payload()
	return id, err == nil
}

// AcceptsID implements ike.Credentials.
func (c *Credentials) AcceptsID(p message.ID) error {
	id, err := c.identity(p)
	if err != nil {
		return err
	}
	return c.remote.accepts(id)
}

// identity reads what a peer claims to be.
func (c *Credentials) identity(p message.ID) (Identity, error) {
	id, err := OfPayload(p)
	if err != nil {
		return Identity{}, &Refusal{WrongIdentity, err.Error(), c.remote.ID.describe(), nil}
	}
	return id, nil
}

// Requests implements ike.Credentials.
func (c *Credentials) Requests() []*message.CertReq { return c.remote.requests() }

// Sign implements ike.Credentials. The secret for a peer that is not known yet is that of its configured identity.
func (c *Credentials) Sign(p ike.Proof) (*message.Auth, []*message.Cert, error) {
	peer := c.remote.ID
	if p.Peer.Type != 0 {
		id, err := c.identity(p.Peer)
		if err != nil {
			return nil, nil, err
		}
		peer = id
	}
	return c.local.sign(peer, proofOf(p))
}

// Verify implements ike.Credentials.
func (c *Credentials) Verify(id message.ID, auth *message.Auth, certs []*message.Cert, p ike.Proof) error {
	peer, err := c.identity(id)
	if err != nil {
		return err
	}
	return c.remote.verify(c.local.ID, peer, auth, certs, proofOf(p), c.now())
}
